// SPDX-License-Identifier: BSD-3-Clause

package desc

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// TestEncodings: the module carries everything, as JSON; people read the rest as YAML.
func TestEncodings(t *testing.T) {
	want := Description{Format: Version, Name: "plugsched_01234567", Release: "6.1.0", BuildID: "abcd", Tool: "t", Commit: "c+",
		Boundary: map[string]int{"internal": 2},
		Replaced: []string{"f"}, Changed: []string{"g"}, Added: []string{"h"}, Removed: []string{"i"}, Warnings: []string{"w"},
		Features: map[string]bool{"F": true}, Values: map[string]uint64{"v": 3}, Symbols: map[string]uint64{"a": 0xffffffff81000000},
		Witnesses: map[string]uint64{"a": 0xffffffff81000000}, Jumps: map[string]uint64{"f": 5}, JumpSize: 5}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Description
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("JSON: %s", diff)
	}
	if text, err = yaml.Marshal(want); err != nil {
		t.Fatal(err)
	}
	got = Description{}
	if err := yaml.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want.Witnesses, want.Symbols, want.Jumps, want.JumpSize = nil, nil, nil, 0
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("YAML: %s", diff)
	}
	for _, key := range []string{"format: 3\n", "name: plugsched_01234567\n", "release: 6.1.0\n", "build_id: abcd\n"} {
		if !strings.Contains(string(text), key) {
			t.Errorf("no %q in\n%s", key, text)
		}
	}
}
