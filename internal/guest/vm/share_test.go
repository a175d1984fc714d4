// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// TestSharing: how a directory gets into the guest follows from what its kernel has and what can run here.
func TestSharing(t *testing.T) {
	defer func(was []string) { daemons = was }(daemons)
	daemons = []string{filepath.Join(t.TempDir(), "nosuch")}
	virtiofs := map[string]string{"virtio/virtio_pci.ko": "", "fs/virtiofs.ko": "depends=fuse\x00", "fs/fuse.ko": ""}
	ninep := map[string]string{"virtio/virtio_pci.ko": "", "fs/9p.ko": "depends=9pnet\x00", "net/9pnet.ko": "",
		"net/9pnet_virtio.ko": "depends=virtio_pci,9pnet\x00"}
	for name, c := range map[string]struct {
		modules map[string]string
		want    string // words of the error, or of the kernel's command line
	}{
		"neither":   {map[string]string{"virtio/virtio_pci.ko": ""}, "virtiofs: no module virtiofs; 9p: this kernel: no module 9pnet_virtio"},
		"no daemon": {virtiofs, "virtiofs: there is no virtiofsd"},
		"9p":        {ninep, "PLUGSCHED_SHARES=9p,share0,rw,%2Fmnt%2Fa%20b%3B%2Cc;9p,share1,ro,%2Fx"},
	} {
		dir := t.TempDir()
		files := fstest.MapFS{"modules.builtin": &fstest.MapFile{}}
		for path, info := range c.modules {
			files["kernel/"+path] = fakeModule(t, info)
		}
		if err := os.CopyFS(dir, files); err != nil {
			t.Fatal(err)
		}
		cfg := Config{Modules: dir, Shares: []Share{{HostPath: "a,b", GuestPath: "/mnt/a b;,c"},
			{HostPath: "/x", GuestPath: "/x", ReadOnly: true}}}
		s, err := cfg.share()
		if err != nil {
			var infra *InfraError
			if !errors.As(err, &infra) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want %s", name, err, c.want)
			}
			continue
		}
		if got := s.word(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		args := strings.Join(s.args(512, 8), " ")
		for _, want := range []string{"a,,b,security_model=none", "path=/x,security_model=none,multidevs=remap,readonly=on", "mount_tag=share1"} {
			if !strings.Contains(args, want) {
				t.Errorf("%s: no %s in %s", name, want, args)
			}
		}
	}
	for _, cfg := range []Config{{Shares: []Share{{}}}, {Shares: []Share{{}}, Modules: "x", Disk: "y"}} {
		if _, err := cfg.share(); err == nil {
			t.Errorf("%+v", cfg)
		}
	}
	if s, err := (&Config{}).share(); s != nil || err != nil {
		t.Errorf("%v, %v", s, err)
	}
}
