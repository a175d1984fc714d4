// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// TestNetwork fetches a real release through apt. It needs the network and some
// 800 MB of disk, so it runs only on demand:
//
//	PLUGSCHED_FETCH=6.1.0-56-cloud-amd64 go test -run Network -v ./internal/kernel/fetch
//
// "newest:FLAVOUR" picks the release; PLUGSCHED_FETCH_CACHE names the cache,
// else it is temporary.
func TestNetwork(t *testing.T) {
	release := os.Getenv("PLUGSCHED_FETCH")
	if release == "" {
		t.Skip("PLUGSCHED_FETCH is not set")
	}
	ctx := t.Context()
	if flavour, ok := strings.CutPrefix(release, "newest:"); ok {
		start := time.Now()
		var err error
		if release, err = Newest(ctx, flavour); err != nil {
			t.Fatal(err)
		}
		t.Logf("newest %s: %s in %v", flavour, release, time.Since(start))
	}
	cache := os.Getenv("PLUGSCHED_FETCH_CACHE")
	if cache == "" {
		cache = t.TempDir()
	}
	start := time.Now()
	o := Options{Release: release, CacheDir: cache, Progress: func(p Progress) {
		if p.Done == p.Total {
			t.Logf("%6.2fs %s %s %d of %d", time.Since(start).Seconds(), p.Step, p.Item, p.Done, p.Total)
		}
	}}
	first, err := Fetch(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("first fetch: %v", time.Since(start))
	start = time.Now()
	again, err := Fetch(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("second fetch: %v", time.Since(start))
	if *first != *again {
		t.Errorf("second fetch differs:\n%+v\n%+v", first, again)
	}
	if first.Release != release || first.Version == "" || first.Vmlinuz == "" {
		t.Errorf("incomplete target %+v", first)
	}
	b, _ := json.MarshalIndent(first, "", "  ")
	t.Logf("%s", b)
}
