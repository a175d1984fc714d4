// SPDX-License-Identifier: BSD-3-Clause

// Package browsing lets tests look at a page in a real browser, without a network.
package browsing

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Ask opens a page whose script posts its answer to "result", in a browser that prefers a
// colour scheme, and returns that answer. What the page asks for besides is in files.
func Ask(t testing.TB, dark bool, host string, files map[string][]byte) []byte {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed: run `make setup`")
	}
	result := make(chan []byte, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, host) })
	for name, text := range files {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) { w.Write(text) })
	}
	mux.HandleFunc("POST /result", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		result <- text
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	scheme := 1
	if dark {
		scheme = 0
	}
	args := []string{"--headless", "--disable-gpu", "--user-data-dir=" + t.TempDir(),
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
		fmt.Sprintf("--blink-settings=preferredColorScheme=%d", scheme), "--window-size=1500,1000", server.URL}
	if os.Geteuid() == 0 {
		args = append([]string{"--no-sandbox"}, args...) // it refuses to run as root with one
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // its children end with it
	cmd.WaitDelay = 20 * time.Second
	var complaints strings.Builder
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		t.Fatalf("%v: %v\n%s", cmd.Args, err, complaints.String())
	case text := <-result:
		cancel()
		<-ended
		return text
	}
	return nil
}
