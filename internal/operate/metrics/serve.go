// SPDX-License-Identifier: BSD-3-Clause

package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Loopback listens on an address, which has to be one of the machine itself: what is
// served there is nobody else's business without an exporter that knows whose.
func Loopback(address string) (net.Listener, error) {
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	if !a.IP.IsLoopback() {
		return nil, fmt.Errorf("%s is not a loopback address such as 127.0.0.1:9101", address)
	}
	return net.ListenTCP("tcp", a)
}

// MaxSocket is how many bytes a socket's path can have; the kernel says of a longer one only that it is invalid.
const MaxSocket = len(unix.RawSockaddrUnix{}.Path) - 1

// Socket listens on a Unix socket that only its owner and group may use. One that
// nobody listens on any more is replaced.
func Socket(path string) (net.Listener, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode().Type() == os.ModeSocket {
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, fmt.Errorf("%s: somebody listens there already", path)
		} else if errors.Is(err, unix.ECONNREFUSED) {
			os.Remove(path)
		}
	}
	// Between bind and chmod others must not come in.
	defer unix.Umask(unix.Umask(0o117))
	return net.Listen("unix", path)
}

// Serve answers GET /metrics until the context ends, each time with what read returns.
func Serve(ctx context.Context, l net.Listener, read func() (*State, error)) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) { answer(w, r, read) })
	s := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10}
	defer context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Shutdown(ctx)
	})()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func answer(w http.ResponseWriter, r *http.Request, read func() (*State, error)) {
	format := Text
	if strings.Contains(r.Header.Get("Accept"), "application/openmetrics-text") {
		format = OpenMetrics
	}
	var b bytes.Buffer
	s, err := read()
	if err == nil {
		err = s.Write(&b, format)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", format.ContentType)
	w.Write(b.Bytes())
}
