// SPDX-License-Identifier: BSD-3-Clause

// Package report renders a boundary as one HTML page that needs nothing else.
package report

import (
	_ "embed"
	"encoding/json"
	"html/template"
	"io"
	"strings"

	"plugsched/internal/develop/boundary"
)

//go:embed page.html
var page string

var pageTemplate = template.Must(template.New("page").Parse(page))

// item is a function or variable of the page. The names are short because the
// page has thousands of them.
type item struct {
	Name     string   `json:"n"`
	Class    string   `json:"c"`
	Unit     string   `json:"u,omitempty"`
	File     string   `json:"f,omitempty"`
	Line     int      `json:"l,omitempty"`
	Type     string   `json:"t,omitempty"`
	Facts    []string `json:"w,omitempty"`
	Callers  []string `json:"i,omitempty"` // of a variable: who uses it
	Callees  []string `json:"o,omitempty"`
	Variable bool     `json:"v,omitempty"`
}

// class is a line of the page's legend.
type class struct {
	Name string `json:"n"`
	Says string `json:"d"`
}

// classes are in the order in which the page lists them: what moves first.
func classes() []class {
	var out []class
	add := func(name, describe string) { out = append(out, class{name, strings.TrimPrefix(describe, name+": ")}) }
	for _, c := range boundary.Classes {
		add(string(c), c.Describe())
	}
	add("absent", "no code of its own in the kernel: inlined everywhere, or weak and replaced")
	for _, c := range boundary.ObjectClasses {
		add(string(c), "a variable: "+strings.TrimPrefix(c.Describe(), string(c)+": "))
	}
	return out
}

// Write renders the page. In a browser, #f=NAME shows a function, #q=TEXT
// searches, #c=CLASS lists a class; they go together with "&".
func Write(w io.Writer, b *boundary.Boundary) error {
	data, err := json.Marshal(items(b)) // escapes <, > and &
	if err != nil {
		return err
	}
	legend, err := json.Marshal(classes())
	if err != nil {
		return err
	}
	return pageTemplate.Execute(w, map[string]any{
		"Release": b.Release, "BuildID": b.BuildID, "Obstacle": b.Obstacle,
		"Classes": template.JS(legend), "Items": template.JS(data),
	})
}

func items(b *boundary.Boundary) []item {
	var out []item
	for _, f := range b.Functions {
		i := item{Name: f.Name, Class: string(f.Class), Unit: f.Unit, File: f.DeclFile, Line: f.DeclLine, Callers: f.Callers, Callees: f.Callees}
		for _, fact := range f.Facts {
			i.Facts = append(i.Facts, fact.Text)
		}
		for _, s := range f.Inlines {
			i.Facts = append(i.Facts, s+" is inlined into it")
		}
		for _, a := range f.Aliases {
			i.Facts = append(i.Facts, a+" has the same code")
		}
		out = append(out, i)
	}
	for _, x := range b.Absent {
		i := item{Name: x.Name, Class: "absent", Unit: x.Unit, File: x.DeclFile, Line: x.DeclLine, Callers: x.Into}
		if x.Over != "" {
			i.Facts = []string{"is weak, and replaced by " + x.Over}
		}
		for _, into := range x.Into {
			i.Facts = append(i.Facts, "is inlined into "+into)
		}
		out = append(out, i)
	}
	for _, o := range b.Objects {
		i := item{Name: o.Name, Class: string(o.Class), Unit: o.Unit, File: o.DeclFile, Line: o.DeclLine, Type: o.Type,
			Facts: []string{o.Why}, Variable: true}
		for _, f := range o.Outside {
			i.Facts = append(i.Facts, "is named outside of the scheduler by "+f)
		}
		i.Callers = append(append(i.Callers, o.Inside...), o.Outside...)
		out = append(out, i)
	}
	return out
}
