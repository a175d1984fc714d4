// SPDX-License-Identifier: BSD-3-Clause

package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// Version is raised on every incompatible change; host and agent must agree.
const Version = 1

// EnvDevice is the environment variable through which a guest's init learns
// that it is a plugsched agent, and which tty is the bell. It is given on the
// kernel command line: words NAME=value that the kernel does not know become
// init's environment (init/main.c, unknown_bootoption).
const EnvDevice = "PLUGSCHED_GUEST"

// A guest with a disk is told in the same way which device is its root file
// system, and which tty the journal goes to.
const (
	EnvDisk    = "PLUGSCHED_DISK"
	EnvJournal = "PLUGSCHED_JOURNAL"
)

// EnvShares is what a guest without a disk has to mount: of each directory, separated by semicolons, the kind of file
// system, the tag, rw or ro, and the place, escaped as in a URL's path.
const EnvShares = "PLUGSCHED_SHARES"

// EnvService tells a program started by systemd, not by the kernel, that it is the
// agent.
const EnvService = "PLUGSCHED_SERVICE"

// DirModules and DirFiles are the initramfs's directories of modules, to be loaded
// in the order of their names, and of files for the disk.
const (
	DirModules = "/modules"
	DirFiles   = "/files"
)

// SharedVendor and SharedDevice are the PCI identity of the shared memory,
// QEMU's ivshmem (docs/specs/ivshmem-spec.txt); the memory is its BAR 2. User
// space maps it through sysfs, without a driver.
const (
	SharedVendor = "0x1af4"
	SharedDevice = "0x1110"
)

// StreamChunk is the size of one Data frame. Per stream only one may be
// unconsumed, so a process that does not read its standard input holds up
// nobody else and the agent need not store what it does not read.
const StreamChunk = 16 << 10

// Type says what a frame is.
type Type uint8

// Frames to the guest.
const (
	Open   Type = 1 + iota // payload: Request in JSON; starts a stream
	Data                   // payload: bytes for the stream's input
	EOF                    // end of the stream's input
	Signal                 // payload: one byte, the signal number
	Resize                 // payload: Size in JSON
)

// Frames to the host.
const (
	Hello    Type = 64 + iota // payload: Greeting in JSON
	Consumed                  // the stream's last Data frame has been consumed
	Started                   // payload: 4 bytes, pid
	Stdout                    // payload: bytes
	Stderr                    // payload: bytes
	Done                      // payload: Status in JSON; ends the stream
)

// A Greeting is the agent's first frame.
type Greeting struct {
	Version int    `json:"version"`
	Release string `json:"release"`
	Machine string `json:"machine"`
}

// Op is what a Request asks for.
type Op string

// Operations. Write takes the content as Data frames and writes all of it with
// one write(2) after EOF, which is what procfs and sysfs files need.
const (
	OpExec     Op = "exec"
	OpRead     Op = "read"
	OpWrite    Op = "write"
	OpPing     Op = "ping"
	OpPoweroff Op = "poweroff"
)

// A Request opens a stream.
type Request struct {
	Op   Op       `json:"op"`
	Argv []string `json:"argv,omitempty"`
	Env  []string `json:"env,omitempty"`
	Dir  string   `json:"dir,omitempty"`
	// Stdin says that Data frames and an EOF will follow; otherwise standard
	// input is /dev/null.
	Stdin bool   `json:"stdin,omitempty"`
	PTY   *Size  `json:"pty,omitempty"`
	Path  string `json:"path,omitempty"`
	Mode  uint32 `json:"mode,omitempty"`
}

// Size is a terminal's size in characters.
type Size struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// Status is how an operation ended. Error is set if it could not be done; for
// OpExec that means that the program did not start. Errno is then the system's
// error number, if there is one.
type Status struct {
	Error    string `json:"error,omitempty"`
	Errno    int    `json:"errno,omitempty"`
	ExitCode int    `json:"exit,omitempty"`
	Signal   int    `json:"signal,omitempty"`
	Nanos    int64  `json:"ns,omitempty"`
}

// JSON builds a frame whose payload is v in JSON. It is an error if the payload
// does not fit one frame.
func JSON(t Type, stream uint32, v any) (Frame, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return Frame{}, err
	}
	if len(b) > MaxPayload {
		return Frame{}, fmt.Errorf("request of %d bytes is longer than %d", len(b), MaxPayload)
	}
	return Frame{Type: t, Stream: stream, Payload: b}, nil
}

// Uint32 builds a frame whose payload is one number.
func Uint32(t Type, stream, n uint32) Frame {
	return Frame{Type: t, Stream: stream, Payload: binary.LittleEndian.AppendUint32(nil, n)}
}

// Number is the payload of a frame made by Uint32, or 0 if it is none.
func (f Frame) Number() uint32 {
	if len(f.Payload) != 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(f.Payload)
}
