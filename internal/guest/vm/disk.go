// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"plugsched/internal/guest/vm/wire"
	"plugsched/internal/kernel/arch"
)

// NewOverlay makes the disk at path, whose content is that of the raw image base
// until a guest writes to it. The base is not changed and must stay.
func NewOverlay(ctx context.Context, base, path string) error {
	base, err := filepath.Abs(base)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, path).CombinedOutput()
	if err != nil {
		return &InfraError{"qemu-img (Debian: apt install qemu-utils)", fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))}
	}
	return nil
}

func (c *Config) checkDisk() error {
	switch {
	case c.Disk == "" && c.SSHPort != 0:
		return fmt.Errorf("a port for ssh needs a disk")
	case c.Disk == "" && c.JournalLog != "":
		return fmt.Errorf("a log of the journal needs a disk")
	case c.Disk != "" && c.Modules == "":
		return fmt.Errorf("a disk needs the directory of the kernel's modules")
	}
	return nil
}

// diskArgs adds the disk, and what only guests with a disk have.
func diskArgs(c *Config, a *arch.Arch) []string {
	if c.Disk == "" {
		return nil
	}
	args := []string{
		"-drive", "if=none,id=disk,format=qcow2,file=" + comma(c.Disk),
		"-device", "virtio-blk-pci,drive=disk",
	}
	journal := "null,id=journal"
	if c.JournalLog != "" {
		journal = "file,id=journal,path=" + comma(c.JournalLog)
	}
	args = append(args, "-chardev", journal)
	args = append(args, a.Guest.Serial(2, "journal")...)
	if c.SSHPort != 0 {
		args = append(args,
			"-netdev", fmt.Sprintf("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:%d-:22", c.SSHPort),
			"-device", "virtio-net-pci,netdev=net")
	}
	return args
}

// comma escapes a path for QEMU, which ends values at commas.
func comma(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// diskFiles are the initramfs's files that prepare the way to the disk, and those
// that go onto it.
func diskFiles(c *Config) ([]File, error) {
	// ext4 asks for its checksum by another name than the module's.
	names := []string{"virtio_pci", "virtio_blk", "crc32c_generic", "ext4"}
	if c.SSHPort != 0 {
		names = append(names, "virtio_net")
	}
	modules, err := loadOrder(os.DirFS(c.Modules), names...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Modules, err)
	}
	var files []File
	for i, m := range modules {
		files = append(files, File{
			GuestPath: fmt.Sprintf("%s/%02d-%s", wire.DirModules, i, path.Base(m)),
			HostPath:  filepath.Join(c.Modules, m),
		})
	}
	for _, f := range c.Files {
		f.GuestPath = path.Join(wire.DirFiles, path.Clean("/"+f.GuestPath))
		files = append(files, f)
	}
	return files, nil
}
