// SPDX-License-Identifier: BSD-3-Clause

package bochs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"plugsched/internal/guest/vm"
)

// machine is one that has indirect branch tracking. What clockHz instructions take is one
// second for the guest, however long it takes the host.
const machine = `
display_library: term
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model=tigerlake, count=1, ips=100000000, reset_on_triple_fault=0
memory: guest=768, host=768
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=/proc/self/fd/3
clock: sync=none, time0=local
`

var words = []string{
	"console=ttyS0,115200", "rdinit=/init", "printk.devkmsg=on", "ignore_loglevel",
	// It stays where it is, and is seen to. An oops that tracking makes ends it.
	"panic=0", "oops=panic",
	// The processor claims more than the emulator gives: bochs counts one cycle an
	// instruction, and its timers go by that.
	"tsc_early_khz=100000", "tsc=reliable", "no_timer_check",
	// What this emulator's processor says it has and has not got right.
	"clearcpuid=pku",
	// Nothing that is looked at, and a third of the instructions.
	"mitigations=off", "cryptomgr.notests", "random.trust_cpu=on",
}

// prefix begins the guest's own lines on the console.
const prefix = "guest: "

// initScript runs what is in /commands. Each line is one write to the kernel's log, so that
// none gets mixed up with the kernel's own.
const initScript = `#!/bin/sh
on() { mkdir -p $2; mount -t $1 $1 $2; }
on proc /proc
on sysfs /sys
on devtmpfs /dev
on tmpfs /run
on tmpfs /tmp
on cgroup2 /sys/fs/cgroup
on debugfs /sys/kernel/debug
on tracefs /sys/kernel/tracing
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root
say() { echo "<5>` + prefix + `$*" > /dev/kmsg; }
n=0
while [ -f /commands/$n ]; do
	say begin $n
	sh /commands/$n > /tmp/output 2>&1
	code=$?
	while IFS= read -r line; do say "out $line"; done < /tmp/output
	say end $code
	n=$((n + 1))
done
while :; do sleep 1000; done
`

const bootMenu = `DEFAULT guest
LABEL guest
 KERNEL /vmlinuz
 INITRD /initrd
 APPEND %s
`

// makeDisc writes what the machine boots.
func makeDisc(ctx context.Context, dir string, cfg *Config) error {
	files := append([]vm.File{{GuestPath: "/init", Content: []byte(initScript), Mode: 0o755}}, cfg.Files...)
	for i, c := range cfg.Commands {
		files = append(files, vm.File{GuestPath: fmt.Sprintf("/commands/%d", i), Content: []byte(c)})
	}
	root, err := vm.Initramfs(cfg.Kernel, files)
	if err != nil {
		return err
	}
	defer root.Close()
	disc := filepath.Join(dir, "disc")
	if err := os.MkdirAll(filepath.Join(disc, "isolinux"), 0o755); err != nil {
		return err
	}
	menu := fmt.Sprintf(bootMenu, strings.Join(append(words[:len(words):len(words)], cfg.Append...), " "))
	if err := os.WriteFile(filepath.Join(disc, "isolinux/isolinux.cfg"), []byte(menu), 0o644); err != nil {
		return err
	}
	for to, from := range map[string]string{
		"isolinux/isolinux.bin": "/usr/lib/ISOLINUX/isolinux.bin",
		"isolinux/ldlinux.c32":  "/usr/lib/syslinux/modules/bios/ldlinux.c32",
		"vmlinuz":               cfg.Kernel,
	} {
		if err := copyFile(filepath.Join(disc, to), from); err != nil {
			return err
		}
	}
	if _, err := root.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(disc, "initrd"), root); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "xorriso", "-as", "mkisofs", "-quiet", "-o", filepath.Join(dir, "disc.iso"),
		"-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", disc)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("xorriso: %w\n%s", err, out)
	}
	return nil
}

func copyFile(to, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return writeFile(to, f)
}

func writeFile(to string, from io.Reader) error {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}
