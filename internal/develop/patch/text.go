// SPDX-License-Identifier: BSD-3-Clause

package patch

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/outcome"
)

// most is what a patch may have of bytes.
const most = 64 << 20

// ReadText reads a file, or a pipe as of a shell's <(command). Nobody's pipe is empty, and one that
// nothing comes from can be left.
func ReadText(ctx context.Context, path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, outcome.With(outcome.Precondition, err)
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular() && st.Mode()&os.ModeNamedPipe == 0:
		return nil, &FormatError{From: path, Why: "is no file: name a patch"}
	}
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Now()) })
	defer stop()
	return bounded(ctx, path, f)
}

// input reads standard input. A terminal has no deadline to be left by: who waits for it is.
func input(ctx context.Context, stdin io.Reader) ([]byte, error) {
	type result struct {
		text []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := bounded(ctx, "-", stdin)
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func bounded(ctx context.Context, path string, r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, err
	case len(text) > most:
		return nil, &FormatError{From: path, Why: fmt.Sprintf("is larger than %d MiB: no patch of a scheduler is", most>>20)}
	}
	return text, nil
}
