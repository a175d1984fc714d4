// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"plugsched/internal/guest/vm/wire"
)

// A Share is a directory of this machine that the guest has too: what one side writes the other reads.
type Share struct {
	HostPath, GuestPath string
	// ReadOnly: the guest cannot change anything, whatever its root does.
	ReadOnly bool
}

// A daemon serves directories to guests through virtiofs. There are two: QEMU's own, in C, up to QEMU 7, and
// the one in Rust that followed it. Their options differ in part.
type daemon struct {
	path string
	// here: it does without root. readOnly: it has an option for that.
	here, readOnly bool
	newer          bool
}

// daemons are where distributions put them (Debian 12's qemu-system-common, Debian 13's virtiofsd).
var daemons = []string{"/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"}

// findDaemon returns one that can run here, or says why there is none.
func findDaemon() (*daemon, error) {
	var why []error
	for _, file := range daemons {
		help, err := exec.Command(file, "--help").CombinedOutput()
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			why = append(why, fmt.Errorf("%s --help: %w", file, err))
			continue
		}
		d := &daemon{path: file, newer: strings.Contains(string(help), "--shared-dir"), readOnly: strings.Contains(string(help), "--readonly")}
		if d.here = d.newer || os.Geteuid() == 0; d.here {
			return d, nil
		}
		why = append(why, fmt.Errorf("%s needs root", file))
	}
	if why == nil {
		why = append(why, errors.New("there is no virtiofsd (in Debian 12 it comes with QEMU; later: apt install virtiofsd)"))
	}
	return nil, errors.Join(why...)
}

// sharing is how the directories get into the guest.
type sharing struct {
	shares  []Share
	daemon  *daemon // nil: 9p, which QEMU speaks itself
	modules []string
}

// share decides how: by virtiofs if the kernel has it and a daemon can run here, or else by 9p.
func (c *Config) share() (*sharing, error) {
	if len(c.Shares) == 0 {
		return nil, nil
	}
	if c.Disk != "" {
		return nil, errors.New("directories are shared with guests without a disk only")
	}
	if c.Modules == "" {
		return nil, errors.New("a shared directory needs the directory of the kernel's modules")
	}
	s := &sharing{}
	for _, d := range c.Shares {
		abs, err := filepath.Abs(d.HostPath)
		if err != nil {
			return nil, err
		}
		d.HostPath = abs
		s.shares = append(s.shares, d)
	}
	var virtiofs, ninep, err error
	if s.modules, virtiofs = loadOrder(os.DirFS(c.Modules), "virtio_pci", "virtiofs"); virtiofs == nil {
		if s.daemon, virtiofs = findDaemon(); virtiofs == nil {
			if err = s.daemon.refuses(s.shares); err == nil {
				return s, nil
			}
			virtiofs = err
		}
	}
	s.daemon = nil
	if s.modules, ninep = loadOrder(os.DirFS(c.Modules), "virtio_pci", "9pnet_virtio", "9p"); ninep == nil {
		return s, nil
	}
	return nil, &InfraError{"share a directory", fmt.Errorf("virtiofs: %s; 9p: this kernel: %w", oneLine(virtiofs), ninep)}
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", ", ") }

// refuses says what the daemon cannot do.
func (d *daemon) refuses(shares []Share) error {
	for _, s := range shares {
		if s.ReadOnly && !d.readOnly && os.Geteuid() != 0 {
			return fmt.Errorf("%s cannot keep the guest from writing without root", d.path)
		}
		if !d.newer && strings.ContainsAny(s.HostPath, `,\`) {
			return fmt.Errorf("%s: no path with a comma or a backslash can be named to %s", s.HostPath, d.path)
		}
	}
	return nil
}

// command serves a share on descriptor 3, on which somebody waits to be let in.
func (d *daemon) command(s Share) *exec.Cmd {
	argv := []string{d.path, "--fd=3"}
	if d.newer {
		argv = append(argv, "--shared-dir", s.HostPath)
	} else {
		argv = append(argv, "-f", "-o", "source="+s.HostPath, "-o", "sandbox=namespace")
	}
	switch {
	case s.ReadOnly && d.readOnly:
		argv = append(argv, "--readonly")
	case s.ReadOnly:
		// A mount of its own that cannot be written to. What is mounted below the directory is not in it.
		argv = append([]string{"unshare", "--mount", "sh", "-ec",
			`mount --bind -- "$1" "$1"; mount -o remount,bind,ro -- "$1"; shift; exec "$@"`, "sh", s.HostPath}, argv...)
	}
	return exec.Command(argv[0], argv[1:]...)
}

// files are the drivers, in the order of loading.
func (s *sharing) files(dir string) []File {
	var list []File
	for i, m := range s.modules {
		list = append(list, File{GuestPath: fmt.Sprintf("%s/%02d-%s", wire.DirModules, i, path.Base(m)), HostPath: filepath.Join(dir, m)})
	}
	return list
}

// word tells the guest what to mount where.
func (s *sharing) word() string {
	var list []string
	for i, d := range s.shares {
		kind, mode := "virtiofs", "rw"
		if s.daemon == nil {
			kind = "9p"
		}
		if d.ReadOnly {
			mode = "ro"
		}
		list = append(list, strings.Join([]string{kind, tag(i), mode, url.PathEscape(d.GuestPath)}, ","))
	}
	return wire.EnvShares + "=" + strings.Join(list, ";")
}

func tag(i int) string { return fmt.Sprintf("share%d", i) }

// args is QEMU's part. first is the descriptor of the first share's socket.
func (s *sharing) args(memory, first int) []string {
	var args []string
	if s.daemon != nil {
		// The daemon reads and writes the guest's memory.
		args = append(args, "-object", fmt.Sprintf("memory-backend-memfd,id=ram,size=%dM,share=on", memory), "-machine", "memory-backend=ram")
	}
	for i, d := range s.shares {
		if s.daemon != nil {
			args = append(args, "-chardev", fmt.Sprintf("socket,id=%s,fd=%d", tag(i), first+i),
				"-device", fmt.Sprintf("vhost-user-fs-pci,chardev=%s,tag=%s", tag(i), tag(i)))
			continue
		}
		fsdev := fmt.Sprintf("local,id=%s,path=%s,security_model=none,multidevs=remap", tag(i), comma(d.HostPath))
		if d.ReadOnly {
			fsdev += ",readonly=on"
		}
		args = append(args, "-fsdev", fsdev, "-device", fmt.Sprintf("virtio-9p-pci,fsdev=%s,mount_tag=%s", tag(i), tag(i)))
	}
	return args
}

// A server is a daemon that runs for one share.
type server struct {
	cmd    *exec.Cmd
	stderr tail
	done   chan struct{} // closed when reaped
	err    error         // of Wait; valid after done
}

// serve starts a daemon for each share, and returns QEMU's ends of the sockets to them.
func (s *sharing) serve() (servers []*server, theirs []*os.File, err error) {
	if s == nil || s.daemon == nil {
		return nil, nil, nil
	}
	for _, d := range s.shares {
		v, conn, err := s.daemon.start(d)
		if err != nil {
			stop(servers)
			for _, f := range theirs {
				f.Close()
			}
			return nil, nil, &InfraError{"start " + s.daemon.path, err}
		}
		servers, theirs = append(servers, v), append(theirs, conn)
	}
	return servers, theirs, nil
}

// start lets QEMU's end wait before the daemon begins to listen: there is no file to be left behind, and nobody
// else to come first.
func (d *daemon) start(s Share) (*server, *os.File, error) {
	l, conn, err := rendezvous()
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	v := &server{cmd: d.command(s), done: make(chan struct{})}
	v.cmd.ExtraFiles = []*os.File{l}
	v.cmd.Stderr = &v.stderr
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // as for QEMU
		err := v.cmd.Start()
		started <- err
		if err == nil {
			v.err = v.cmd.Wait()
			close(v.done)
		}
	}()
	if err := <-started; err != nil {
		conn.Close()
		return nil, nil, err
	}
	return v, conn, nil
}

// rendezvous returns a socket that listens and one that is connected to it. Its name is the kernel's choice,
// and in no directory (unix(7), autobind).
func rendezvous() (l, conn *os.File, err error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	defer listener.Close()
	c, err := net.DialUnix("unix", nil, listener.Addr().(*net.UnixAddr))
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	if l, err = listener.File(); err != nil {
		return nil, nil, err
	}
	if conn, err = c.File(); err != nil {
		l.Close()
		return nil, nil, err
	}
	// What inherits them expects to wait in them.
	return l, conn, errors.Join(unix.SetNonblock(int(l.Fd()), false), unix.SetNonblock(int(conn.Fd()), false))
}

// stop ends daemons, and all that they have started.
func stop(servers []*server) {
	for _, v := range servers {
		unix.Kill(-v.cmd.Process.Pid, unix.SIGKILL)
		<-v.done
	}
}

// failure is what a daemon died of before the guest did; nil when none has.
func failure(servers []*server) error {
	for _, v := range servers {
		select {
		case <-v.done:
			if v.err != nil {
				return &InfraError{path.Base(v.cmd.Path), fmt.Errorf("%w: %s", v.err, v.stderr.String())}
			}
		default:
		}
	}
	return nil
}
