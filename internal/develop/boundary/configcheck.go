// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"plugsched/internal/outcome"
)

// ConfigError is a mistake in a project's file.
type ConfigError struct {
	File string // "" if the entry is not from a file
	Line int    // 0 when unknown
	Text string
}

func (e *ConfigError) Error() string {
	switch {
	case e.File == "":
		return e.Text
	case e.Line == 0:
		return e.File + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}

// Outcome implements outcome.Error.
func (*ConfigError) Outcome() outcome.Outcome { return outcome.Precondition }

// lines are where the entries of a file are, by section and name.
type lines map[[2]string]int

// errorAt makes the error of an entry.
func (c *Config) errorAt(section, name, format string, args ...any) error {
	return &ConfigError{c.file, c.lines[[2]string{section, name}], section + ": " + fmt.Sprintf(format, args...)}
}

// Line is where the project's file lists a name, 0 if it does not.
func (c *Config) Line(section, name string) int { return c.lines[[2]string{section, name}] }

// Fingerprint is equal for files from which the same boundary follows.
func (c *Config) Fingerprint() (string, error) {
	same := *c
	same.Headers, same.Package, same.Rebuilt, same.Features, same.Values = nil, nil, nil, nil, nil
	same.Derived, same.Recomputed = nil, nil
	text, err := yaml.Marshal(&same)
	return string(text), err
}

// HeaderLines returns the names under headers:, each with the place that lists it.
func (c *Config) HeaderLines() map[string]string {
	out := map[string]string{}
	for name := range c.Headers {
		out[name] = fmt.Sprintf("%s:%d", path.Base(c.file), c.Line("headers", name))
	}
	return out
}

var (
	yamlLine    = regexp.MustCompile(`line (\d+): `)
	yamlUnknown = regexp.MustCompile(`field (\S+) not found in type \S+`)
	// The package counts lines from 0 in what its parser, unlike its scanner, says.
	yamlParser = regexp.MustCompile(`^did not find expected (key|<|'-'|node|',')`)
	yamlKind   = regexp.MustCompile(`cannot unmarshal !!(\w+).* into .*`)
)

// syntax puts what the YAML package says into one line with a place. It tells of
// all mistakes that it finds; the first is enough.
func (c *Config) syntax(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var all *yaml.TypeError
	if errors.As(err, &all) && len(all.Errors) > 0 {
		text = all.Errors[0]
	}
	e := &ConfigError{File: c.file}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		text = yamlLine.ReplaceAllString(text, "")
	}
	if yamlParser.MatchString(text) {
		e.Line++
	}
	text = yamlUnknown.ReplaceAllString(text, "unknown key $1; known are "+strings.Join(sections(), ", "))
	e.Text = yamlKind.ReplaceAllString(text, "$1 where an entry is expected: write NAME: REASON")
	return e
}

// sections are the keys that a file may have.
func sections() []string {
	var out []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if key := f.Tag.Get("yaml"); key != "" {
			out = append(out, key)
		}
	}
	return out
}

// check looks for entries without a reason and for those that contradict each
// other or the built-in knowledge, and notes where each is.
func (c *Config) check(text []byte, own *Config) error {
	c.lines = lines{}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return c.syntax(err)
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return nil // empty
	}
	for i, top := 0, doc.Content[0].Content; i+1 < len(top); i += 2 {
		section, entries := top[i].Value, top[i+1]
		for _, entry := range entries.Content {
			if entries.Kind == yaml.SequenceNode {
				c.lines[[2]string{section, entry.Value}] = entry.Line
			}
		}
		for j := 0; entries.Kind == yaml.MappingNode && j+1 < len(entries.Content); j += 2 {
			name, why := entries.Content[j], entries.Content[j+1]
			c.lines[[2]string{section, name.Value}] = name.Line
			if section != "package" && why.Kind == yaml.ScalarNode && strings.TrimSpace(why.Value) == "" {
				return c.errorAt(section, name.Value, "%s needs a reason: write %s: REASON", name.Value, name.Value)
			}
		}
	}
	for _, name := range sortedKeys(own.Stay) {
		if _, both := own.Interface[name]; both {
			return c.errorAt("stay", name, "%s is listed under interface too (line %d)", name, c.lines[[2]string{"interface", name}])
		}
	}
	for i := range own.Sidecar {
		s := &own.Sidecar[i]
		if strings.TrimSpace(s.Reason) == "" {
			return c.SidecarError(s, "%s needs a reason: write %s: REASON", s.Function, s.Function)
		}
		for _, section := range []string{"stay", "interface"} {
			if line, both := c.lines[[2]string{section, s.Function}]; both {
				return c.SidecarError(s, "%s is listed under %s too (line %d)", s.Function, section, line)
			}
		}
	}
	for _, name := range sortedKeys(own.Features) {
		if v := own.Features[name]; v != "true" && v != "false" {
			return c.errorAt("features", name, "%s is to be true or false, not %q", name, v)
		}
	}
	for _, name := range sortedKeys(own.Values) {
		if _, err := Number(own.Values[name]); err != nil {
			return c.errorAt("values", name, "%s is to be a number of at most 64 bits, not %q", name, own.Values[name])
		}
	}
	for _, name := range sortedKeys(own.Interface) {
		if why, ok := c.builtin[name]; ok {
			return c.errorAt("interface", name, "%s has to stay: it %s", name, why)
		}
	}
	for _, dir := range own.Sources {
		if rel := strings.TrimSuffix(dir, "/"); !filepath.IsLocal(rel) || path.Clean(rel) != rel || rel == "." {
			return c.errorAt("sources", dir, "%q is no directory of the kernel's source", dir)
		}
	}
	for section, patterns := range map[string]map[string]string{
		"locks": own.Locks, "preempts": own.Preempts, "waits": own.Waits, "passes": own.Passes, "files": own.Files,
		"derived": own.Derived, "recomputed": own.Recomputed} {
		for _, p := range sortedKeys(patterns) {
			if _, err := path.Match(p, ""); err != nil {
				return c.errorAt(section, p, "%s is no pattern: %v", p, err)
			}
		}
	}
	return nil
}

// Number reads a value under values:, as its bits.
func Number(text string) (uint64, error) {
	if strings.HasPrefix(text, "-") {
		n, err := strconv.ParseInt(text, 0, 64)
		return uint64(n), err
	}
	return strconv.ParseUint(text, 0, 64)
}

// similar suggests the function whose name is one or two letters away.
func (d *deriver) similar(name string) string {
	for _, n := range d.order {
		if n.fn.Name != name && distance(n.fn.Name, name) <= 2 {
			return fmt.Sprintf("; is %s meant?", n.fn.Name)
		}
	}
	return ""
}

// distance is how many letters have to be put in, left out or changed to get from
// one word to the other.
func distance(a, b string) int {
	if len(a)-len(b) > 2 || len(b)-len(a) > 2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
