// SPDX-License-Identifier: BSD-3-Clause

// Package rootfs makes the disk of a guest that runs a real Debian: systemd, dpkg
// and apt, as they are on the machines that plugsched is for.
package rootfs

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"plugsched/internal/durable"
	"plugsched/internal/kernel/fetch"
)

//go:embed rootfs.sh
var recipe string

// Image returns the path of the raw image of a root file system, for
// vm.NewOverlay. It is made if the cache has none of this recipe, which takes two
// minutes and tells progress what it does. cache is fetch.DefaultCacheDir's if empty.
func Image(ctx context.Context, cache string, progress io.Writer) (string, error) {
	if cache == "" {
		var err error
		if cache, err = fetch.DefaultCacheDir(); err != nil {
			return "", err
		}
	}
	dir := filepath.Join(cache, fmt.Sprintf("rootfs-%.12x", sha256.Sum256([]byte(recipe))))
	image := filepath.Join(dir, "rootfs.ext4")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := durable.WaitLock(ctx, filepath.Join(dir, "lock"), 0o644,
		func(held *durable.HeldError) { fmt.Fprintln(progress, "waiting:", held) })
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(image); !errors.Is(err, os.ErrNotExist) {
		return image, err
	}
	return image, build(ctx, dir, image, progress)
}

// build has the image made under another name, so that what is there is whole.
func build(ctx context.Context, dir, image string, progress io.Writer) error {
	fmt.Fprintln(progress, "making", image, "(some minutes)")
	start := time.Now()
	tmp := filepath.Join(dir, "tmp")
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	made := filepath.Join(tmp, "rootfs.ext4")
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", recipe, "rootfs.sh", made)
	cmd.Stdout, cmd.Stderr = progress, progress
	// mmdebstrap unmounts and removes what it has made if it is asked to end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("make %s (scripts/setup installs what it needs): %w", image, err)
	}
	if err := durable.Replace(made, image); err != nil {
		return err
	}
	fmt.Fprintln(progress, "made", image, "in", time.Since(start).Round(time.Second))
	return nil
}
