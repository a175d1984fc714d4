// SPDX-License-Identifier: BSD-3-Clause

package patch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"plugsched/internal/develop/inherited"
)

// Read reads patches: a file of one, a mailbox of many, "-" for standard input, or the directory of a quilt
// series, which has a file `series`. Patches that change nothing, as the letter that introduces a series, are left out.
// known reports a file of the kernel: patches whose names have nothing in front of them are told by it.
func Read(ctx context.Context, path string, stdin io.Reader, known func(path string) bool) ([]*Patch, error) {
	text, err := textOf(ctx, path, stdin)
	if err != nil {
		return nil, err
	}
	out, err := read(ctx, path, text, 1)
	if err == nil && !anyFile(out, known) {
		if bare, err := read(ctx, path, text, 0); err == nil && anyFile(bare, known) {
			return bare, nil
		}
	}
	return out, err
}

func anyFile(patches []*Patch, known func(path string) bool) bool {
	return slices.ContainsFunc(patches, func(p *Patch) bool {
		return slices.ContainsFunc(p.Files, func(f *File) bool { return f.Old != "" && known(f.Old) })
	})
}

// textOf reads what a path names, nil of a directory. A pipe can be read only once.
func textOf(ctx context.Context, path string, stdin io.Reader) ([]byte, error) {
	if path == "-" {
		return input(ctx, stdin)
	}
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return nil, nil
	}
	return ReadText(ctx, path)
}

// read reads the patches of a text, or of a directory.
func read(ctx context.Context, path string, text []byte, strip int) ([]*Patch, error) {
	if text == nil {
		return quilt(ctx, path)
	}
	return one(ctx, path, text, strip)
}

func file(ctx context.Context, path string, strip int) ([]*Patch, error) {
	text, err := ReadText(ctx, path)
	if err != nil {
		return nil, err
	}
	return one(ctx, path, text, strip)
}

// quilt reads the patches that a series names, in its order.
func quilt(ctx context.Context, dir string) (out []*Patch, err error) {
	text, err := ReadText(ctx, filepath.Join(dir, "series"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, &FormatError{From: dir, Why: "is a directory without a `series` of quilt's: name the patches, in their order"}
	}
	if err != nil {
		return nil, err
	}
	for l := range strings.Lines(string(text)) {
		l, _, _ = strings.Cut(l, "#")
		words := strings.Fields(l)
		if len(words) == 0 {
			continue
		}
		strip := 1
		for _, w := range words[1:] {
			if n, err := strconv.Atoi(strings.TrimPrefix(w, "-p")); err == nil && strings.HasPrefix(w, "-p") {
				strip = n
			}
		}
		more, err := file(ctx, filepath.Join(dir, words[0]), strip)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	if len(out) == 0 {
		return nil, &FormatError{From: filepath.Join(dir, "series"), Why: "names no patch"}
	}
	return out, nil
}

var (
	mailRE   = regexp.MustCompile(`^(?:From |(?:From|To|Subject|Date|Received|Message-ID|Return-Path|Delivered-To|MIME-Version|X-[\w-]+): )`)
	commitRE = regexp.MustCompile(`^commit [0-9a-f]{7,40}\b`)
)

// one reads the patches of one text.
func one(ctx context.Context, from string, text []byte, strip int) (out []*Patch, err error) {
	if bytes.HasPrefix(text, []byte("\xef\xbb\xbf")) {
		text = text[3:]
	}
	text = bytes.TrimLeft(text, "\r\n")
	switch {
	case mailRE.Match(text):
		out, err = mails(ctx, from, text, strip)
	default:
		var p *Patch
		if p, err = plain(from, string(text), strip); err == nil {
			out = []*Patch{p}
		}
	}
	if err != nil {
		return nil, err
	}
	for _, p := range out {
		for _, f := range p.Files {
			for _, h := range f.Hunks {
				h.Unix()
			}
		}
	}
	out = slices.DeleteFunc(out, func(p *Patch) bool { return len(p.Files) == 0 })
	if len(out) == 0 {
		return nil, &FormatError{From: from, Why: "has no patch in it"}
	}
	return out, nil
}

// mails lets git read letters: it knows how they are encoded, and whose they are.
func mails(ctx context.Context, from string, text []byte, strip int) ([]*Patch, error) {
	dir, err := os.MkdirTemp("", "plugsched-mail-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	box := filepath.Join(dir, "box")
	if err := os.WriteFile(box, text, 0o600); err != nil {
		return nil, err
	}
	if _, err := git(ctx, from, nil, "mailsplit", "-b", "-o"+dir, box); err != nil {
		return nil, err
	}
	letters, err := filepath.Glob(filepath.Join(dir, "[0-9]*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(letters)
	var out []*Patch
	for _, letter := range letters {
		text, err := os.ReadFile(letter)
		if err != nil {
			return nil, err
		}
		message, diff := filepath.Join(dir, "message"), filepath.Join(dir, "diff")
		about, err := git(ctx, from, text, "mailinfo", message, diff)
		if err != nil {
			return nil, err
		}
		p := &Patch{From: from}
		told := map[string]string{}
		for l := range strings.Lines(about) {
			key, value, _ := strings.Cut(strings.TrimSpace(l), ": ")
			told[key] = value
		}
		if told["Email"] != "" {
			p.Author = told["Author"] + " <" + told["Email"] + ">"
		}
		p.Date, p.Subject = told["Date"], told["Subject"]
		body, err := os.ReadFile(message)
		if err != nil {
			return nil, err
		}
		p.Body = strings.TrimSpace(string(body))
		changes, err := os.ReadFile(diff)
		if err != nil {
			return nil, err
		}
		if p.Files, err = Parse(from, string(changes), strip); err != nil {
			return nil, err
		}
		p.name()
		out = append(out, p)
	}
	return out, nil
}

func git(ctx context.Context, from string, stdin []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Env = append(inherited.Git(), "LC_ALL=C")
	cmd.Stdin = bytes.NewReader(stdin)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.As(err, &exit):
		why, _, _ := strings.Cut(strings.TrimSpace(complaint.String()), "\n")
		return "", &FormatError{From: from, Why: fmt.Sprintf("is no letter that git can read (%s)", why)}
	}
	return out.String(), err
}

// plain reads differences with some words in front of them: those of `git show`, of quilt or of anybody.
func plain(from, text string, strip int) (*Patch, error) {
	p := &Patch{From: from}
	var err error
	if p.Files, err = Parse(from, text, strip); err != nil {
		return nil, err
	}
	var words []string
	shown := commitRE.MatchString(text)
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\r\n")
		if strings.HasPrefix(l, "diff ") || strings.HasPrefix(l, "--- ") || strings.HasPrefix(l, "Index: ") || l == "---" {
			break
		}
		key, value, _ := strings.Cut(l, ":")
		switch value = strings.TrimSpace(value); {
		case shown && commitRE.MatchString(l), shown && strings.HasPrefix(l, "Merge:"):
		case len(words) < 2 && key == "Author" && shown, key == "From" && p.Author == "":
			p.Author = value
		case (key == "Date" || key == "AuthorDate") && p.Date == "":
			p.Date = value
		case shown:
			words = append(words, strings.TrimPrefix(l, "    "))
		default:
			words = append(words, l)
		}
	}
	said := strings.TrimSpace(strings.Join(words, "\n"))
	p.Subject, p.Body, _ = strings.Cut(said, "\n")
	p.Body = strings.TrimSpace(p.Body)
	if !strings.Contains(p.Author, "<") {
		p.Author = ""
	}
	p.name()
	return p, nil
}

// name gives a patch that says nothing of itself the name of its file.
func (p *Patch) name() {
	if p.Subject == "" {
		p.Subject = strings.TrimSuffix(strings.TrimSuffix(filepath.Base(p.From), ".patch"), ".diff")
	}
	if p.From == "-" && p.Subject == "-" {
		p.Subject = "A patch"
	}
}
