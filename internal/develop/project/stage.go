// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sort"
	"time"

	"plugsched/internal/durable"
)

// Event is what Progress is told.
type Event struct {
	Stage   string
	Text    string        // what the stage does, or did
	Done    bool          // the stage has ended
	Skipped bool          // its inputs are those of the last time
	Took    time.Duration // when Done
}

func (p *Project) event(e Event) {
	if p.Progress != nil {
		p.Progress(e)
	}
}

// stage runs f unless it has run before with the same key. The mark of a
// finished stage is written last, so that an interrupted one runs again.
func (p *Project) stage(name, text, key string, f func() (string, error)) error {
	mark := p.state(name + ".done")
	if key != "" {
		if was, err := os.ReadFile(mark); err == nil && string(was) == key {
			p.event(Event{Stage: name, Text: "unchanged", Done: true, Skipped: true})
			return nil
		}
		os.Remove(mark)
	}
	p.event(Event{Stage: name, Text: text})
	start := time.Now()
	result, err := f()
	if err != nil {
		return err
	}
	if key != "" {
		if err := durable.WriteFile(mark, []byte(key), 0o644); err != nil {
			return err
		}
	}
	p.event(Event{Stage: name, Text: result, Done: true, Took: time.Since(start)})
	return nil
}

// hashOf makes a key from values and the contents of files.
func hashOf(values []string, files ...string) (string, error) {
	h := sha256.New()
	for _, v := range values {
		fmt.Fprintf(h, "%d:%s\n", len(v), v)
	}
	sort.Strings(files)
	for _, name := range files {
		f, err := os.Open(name)
		if os.IsNotExist(err) {
			fmt.Fprintf(h, "-%s\n", name)
			continue
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s\n", name)
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// selfHash identifies the tool: a new version may decide differently.
func (p *Project) selfHash() (string, error) { return hashOf(nil, p.Self) }
