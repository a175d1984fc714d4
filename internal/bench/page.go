// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	_ "embed"
	"html/template"
	"io"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"micro": micro, "known": known, "parts": func() []string { return Parts }, "ways": func() []Way { return []Way{Ours, Serial, Parallel} },
	"percent": func(v float64) float64 { return 100 * v },
	"more":    func(ratio float64) float64 { return 100 * (ratio - 1) }, "mega": mega,
	"directions": func() []string { return directions },
}).Parse(pageText))

// Page writes the result as one HTML page, which needs a browser and nothing else.
func (r *Result) Page(w io.Writer) error { return page.Execute(w, r) }
