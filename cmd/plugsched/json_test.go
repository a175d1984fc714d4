// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"encoding"
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"plugsched/internal/command/operator"
	"plugsched/internal/develop/apply"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/fit"
	"plugsched/internal/develop/moddiff"
	"plugsched/internal/develop/project"
)

// printed is what --json prints, by command.
func printed() map[string]any {
	all := map[string]any{}
	for name, v := range operator.JSON() {
		all["plugsched "+name] = v
	}
	all["plugsched check"] = project.Checked{}
	all["plugsched init"] = fit.Fitness{}
	all["plugsched diff"] = moddiff.Comparison{}
	all["plugsched apply"] = apply.Application{}
	all["plugsched catch-up"] = apply.Application{}
	all["plugsched boundary show"] = boundary.Boundary{}
	all["plugsched boundary why"] = found{}
	all["plugsched boundary diff"] = boundary.Diff{}
	all["plugsched boundary structs"] = structures{}
	return all
}

// headings of docs/operate/json.md that are not the type's name.
var headings = map[string]string{"Status": "state", "MemberUse": "use", "PatchReport": "patch", "Ended": "last end"}

func heading(t reflect.Type) string {
	if h := headings[t.Name()]; h != "" {
		return h
	}
	return strings.ToLower(t.Name())
}

var (
	marshaler = reflect.TypeFor[json.Marshaler]()
	texts     = reflect.TypeFor[encoding.TextMarshaler]()
)

// objects finds the JSON objects that a type is made of, with their keys.
func objects(t *testing.T, typ reflect.Type, all map[string][]string) {
	switch {
	case typ.Implements(marshaler) || typ.Implements(texts):
	case typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map:
		objects(t, typ.Elem(), all)
	case typ.Kind() == reflect.Struct && all[heading(typ)] == nil:
		name := heading(typ)
		all[name] = []string{}
		for i := range typ.NumField() {
			f := typ.Field(i)
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous && key == "" {
				// Its keys are the outer object's; a listed package is described as one.
				inner := map[string][]string{}
				objects(t, f.Type, inner)
				e := f.Type
				if e.Kind() == reflect.Pointer {
					e = e.Elem()
				}
				for h, keys := range inner {
					switch {
					case h == "package":
						all[h] = keys
					case h == heading(e):
						all[name] = append(all[name], keys...)
					default:
						all[h] = keys
					}
				}
				continue
			}
			if !f.IsExported() || key == "-" {
				continue
			}
			if !regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`).MatchString(key) {
				t.Errorf("%s.%s: the key %q is not in snake_case", typ, f.Name, key)
			}
			all[name] = append(all[name], key)
			objects(t, f.Type, all)
		}
	}
}

// TestJSON: docs/operate/json.md has every command that prints JSON and every key of it, all keys
// are of one style, and nothing else is on the page.
func TestJSON(t *testing.T) {
	all := map[string][]string{}
	for _, v := range printed() {
		objects(t, reflect.TypeOf(v), all)
	}
	if len(all) < 20 {
		t.Fatalf("only %d objects", len(all))
	}
	var walk func(*cobra.Command)
	page := pages(t)["docs/operate/json.md"]
	intro, _, _ := strings.Cut(page, "\n## ")
	walk = func(c *cobra.Command) {
		if c.Flags().Lookup("json") != nil {
			if printed()[c.CommandPath()] == nil {
				t.Errorf("what `%s --json` prints is not known here", c.CommandPath())
			}
			if !strings.Contains(intro, "`"+strings.TrimPrefix(c.CommandPath(), "plugsched ")+"`") {
				t.Errorf("json.md does not tell of `%s`", c.CommandPath())
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(wholeRoot())
	for _, section := range strings.Split(page, "\n### ")[1:] {
		name, text, _ := strings.Cut(section, "\n")
		var told []string
		for row := range strings.Lines(text) {
			if cells := strings.Split(row, "|"); len(cells) > 2 {
				for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[1], -1) {
					told = append(told, m[1])
				}
			}
		}
		keys, ok := all[name]
		if !ok {
			t.Errorf("json.md: there is no object %q", name)
		}
		delete(all, name)
		slices.Sort(told)
		slices.Sort(keys)
		if !slices.Equal(told, keys) {
			t.Errorf("json.md: %s has the keys\n%v, and the page\n%v", name, keys, told)
		}
	}
	for name, keys := range all {
		t.Errorf("json.md does not tell of %s: %v", name, keys)
	}
}
