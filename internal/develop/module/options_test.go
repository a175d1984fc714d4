// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/needs"
)

// TestOptions: what is bound is compiled apart only where it has to be.
func TestOptions(t *testing.T) {
	kasan := []string{"--param=asan-stack=0", "--param=asan-globals=0"}
	for _, tt := range []struct {
		arch            *arch.Arch
		config          needs.Config
		compared, bound []string
	}{
		{arch.X86, needs.Config{"CONFIG_KASAN": "n"}, nil, nil},
		{arch.X86, needs.Config{"CONFIG_KASAN_GENERIC": "y"}, nil, kasan},
		{arch.ARM64, needs.Config{}, []string{"-fno-ipa-ra"}, []string{"-fno-section-anchors"}},
		{arch.ARM64, needs.Config{"CONFIG_KASAN_GENERIC": "y"}, []string{"-fno-ipa-ra"}, append([]string{"-fno-section-anchors"}, kasan...)},
	} {
		compared, bound := Options(tt.arch, tt.config)
		if diff := cmp.Diff([][]string{tt.compared, tt.bound}, [][]string{compared, bound}); diff != "" {
			t.Errorf("%s, %v: %s", tt.arch.Name, tt.config, diff)
		}
	}
}
