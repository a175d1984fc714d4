// SPDX-License-Identifier: BSD-3-Clause

package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/guest/vm/wire"
)

const (
	// diskRoot is where the disk is mounted before it becomes the root.
	diskRoot = "/disk"
	// diskPatience is how long a driver may take to find its device.
	diskPatience = 10 * time.Second

	unitDir     = "/run/systemd/system"
	serviceName = "plugsched-agent.service"
	serviceExe  = "/run/plugsched-agent/agent"
)

// bootDisk turns the initramfs into the system on a disk, with the agent as a service
// of it: in /run, so that nothing is added to the disk. It returns only if that cannot
// be done.
func bootDisk(device, disk, journal string) error {
	if err := mountAll(early); err != nil {
		return err
	}
	if err := loadModules(); err != nil {
		return err
	}
	if _, err := os.Stat("/sys/class/net/eth0"); err == nil {
		// What QEMU's user network calls a guest (hostfwd's default address).
		if err := interfaceUp("eth0", []byte{10, 0, 2, 15}); err != nil {
			return err
		}
	}
	if err := mountDisk(disk); err != nil {
		return err
	}
	if err := addService(device, journal); err != nil {
		return err
	}
	for _, m := range early {
		if err := os.MkdirAll(diskRoot+m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.dir, diskRoot+m.dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", m.dir, err)
		}
	}
	if err := copyTree(wire.DirFiles, diskRoot); err != nil {
		return err
	}
	if err := switchRoot(); err != nil {
		return err
	}
	return fmt.Errorf("/sbin/init: %w", unix.Exec("/sbin/init", []string{"/sbin/init"}, []string{"TERM=linux"}))
}

func loadModules() error {
	modules, err := filepath.Glob(wire.DirModules + "/*")
	if err != nil {
		return err
	}
	for _, path := range modules {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil {
			return fmt.Errorf("load %s: %w", path, err)
		}
	}
	return nil
}

func mountDisk(disk string) error {
	if err := os.Mkdir(diskRoot, 0o755); err != nil {
		return err
	}
	for end := time.Now().Add(diskPatience); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Mount(disk, diskRoot, "ext4", 0, "")
		if err == nil {
			return nil
		}
		if err != unix.ENOENT || time.Now().After(end) {
			return fmt.Errorf("mount %s: %w", disk, err)
		}
	}
}

// addService makes the agent a service of the systemd to come. It starts first and is
// stopped by nothing but the end, so that the host sees a boot and a shutdown in full.
func addService(device, journal string) error {
	if err := os.MkdirAll(filepath.Dir(serviceExe), 0o700); err != nil {
		return err
	}
	if err := copyFile("/init", serviceExe, 0o700); err != nil {
		return err
	}
	unit := fmt.Sprintf(`[Unit]
Description=Agent of the virtual machine
DefaultDependencies=no
IgnoreOnIsolate=yes

[Service]
ExecStart=%s
Environment=%s=%s %s=1
TasksMax=infinity
`, serviceExe, wire.EnvDevice, device, wire.EnvService)
	wants := unitDir + "/sysinit.target.wants"
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(unitDir+"/"+serviceName, []byte(unit), 0o644); err != nil {
		return err
	}
	if err := os.Symlink("../"+serviceName, wants+"/"+serviceName); err != nil {
		return err
	}
	const conf = "/run/systemd/journald.conf.d"
	if err := os.MkdirAll(conf, 0o755); err != nil {
		return err
	}
	return os.WriteFile(conf+"/console.conf",
		[]byte("[Journal]\nForwardToConsole=yes\nTTYPath=/dev/"+journal+"\nRateLimitBurst=0\n"), 0o644)
}

// switchRoot makes the disk the root file system.
func switchRoot() error {
	if err := os.Chdir(diskRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	return os.Chdir("/")
}

// copyTree copies regular files and the directories they are in.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == from {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		dest := filepath.Join(to, strings.TrimPrefix(path, from))
		if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
			return err
		}
		return copyFile(path, dest, fi.Mode().Perm())
	})
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
