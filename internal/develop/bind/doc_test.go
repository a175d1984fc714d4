// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRefusalsDocumented: every class has its section, in the same order, and no
// section is about nothing.
func TestRefusalsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/develop/refusals.md")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			got = append(got, strings.TrimSpace(name))
		}
	}
	for _, c := range Classes {
		want = append(want, string(c))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestClassesListed: a class that is declared is in the list, by which it is documented.
func TestClassesListed(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(f, func(node ast.Node) bool {
		v, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Class" {
			for _, value := range v.Values {
				name, err := strconv.Unquote(value.(*ast.BasicLit).Value)
				if n++; err != nil || !slices.Contains(Classes, Class(name)) {
					t.Errorf("%s is not in Classes", name)
				}
			}
		}
		return true
	})
	if n != len(Classes) {
		t.Errorf("%d classes are declared, %d listed", n, len(Classes))
	}
}
