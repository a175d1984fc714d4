// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"fmt"
	"io"
	"path"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// An entry is one file of an archive. Mode holds the type as in stat(2).
type entry struct {
	name    string // no leading slash
	mode    uint32
	size    int64
	content io.Reader // size bytes; nil for none
	major   uint32    // of a device node
	minor   uint32
}

// writeCPIO writes a "newc" archive as the kernel's init/initramfs.c reads it:
// every header and every content padded to four bytes, parents before children.
// Missing parent directories are added. The bytes depend on the entries only.
func writeCPIO(w io.Writer, entries []entry) error {
	c := &cpioWriter{w: w}
	all, err := withParents(entries)
	if err != nil {
		return err
	}
	for _, e := range all {
		if err := c.add(e); err != nil {
			return fmt.Errorf("initramfs: /%s: %w", e.name, err)
		}
	}
	return c.add(entry{name: "TRAILER!!!"})
}

func withParents(entries []entry) ([]entry, error) {
	byName := map[string]entry{}
	for _, e := range entries {
		e.name = strings.TrimPrefix(path.Clean("/"+e.name), "/")
		if e.name == "" {
			return nil, fmt.Errorf("initramfs: a file has no name")
		}
		if _, ok := byName[e.name]; ok {
			return nil, fmt.Errorf("initramfs: /%s is given twice", e.name)
		}
		byName[e.name] = e
	}
	for name := range byName {
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			p, ok := byName[d]
			if !ok {
				byName[d] = entry{name: d, mode: unix.S_IFDIR | 0o755}
			} else if p.mode&unix.S_IFMT != unix.S_IFDIR {
				return nil, fmt.Errorf("initramfs: /%s is not a directory, but /%s is below it", d, name)
			}
		}
	}
	all := make([]entry, 0, len(byName))
	for _, e := range byName {
		all = append(all, e)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].name < all[j].name })
	return all, nil
}

type cpioWriter struct {
	w   io.Writer
	ino uint32
	n   int64
}

func (c *cpioWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

func (c *cpioWriter) pad() error {
	_, err := c.Write(make([]byte, (4-c.n%4)%4))
	return err
}

func (c *cpioWriter) add(e entry) error {
	const maxSize = 1<<32 - 1
	if e.size > maxSize {
		return fmt.Errorf("%d bytes do not fit a cpio archive", e.size)
	}
	c.ino++
	nlink := 1
	if e.mode&unix.S_IFMT == unix.S_IFDIR {
		nlink = 2
	}
	// Fields: magic, inode, mode, uid, gid, nlink, mtime, size, major and minor
	// of the file system, of the device, length of the name, checksum.
	if _, err := fmt.Fprintf(c, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.ino, e.mode, 0, 0, nlink, 0, e.size, 0, 0, e.major, e.minor, len(e.name)+1, 0, e.name); err != nil {
		return err
	}
	if err := c.pad(); err != nil {
		return err
	}
	if e.content != nil {
		n, err := io.Copy(c, io.LimitReader(e.content, e.size))
		if err != nil {
			return err
		}
		if n != e.size {
			return fmt.Errorf("file shrank from %d to %d bytes", e.size, n)
		}
	}
	return c.pad()
}
