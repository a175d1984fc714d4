// SPDX-License-Identifier: BSD-3-Clause

package vmlinux

import (
	"debug/dwarf"
	"fmt"
	"strings"
)

// typeName spells a type in C notation, without qualifiers.
func typeName(t dwarf.Type) string {
	switch t := t.(type) {
	case nil:
		return "void"
	case *dwarf.QualType:
		return typeName(t.Type)
	case *dwarf.StructType:
		if t.StructName == "" {
			return t.Kind + " {...}"
		}
		return t.Kind + " " + t.StructName
	case *dwarf.EnumType:
		return "enum " + t.EnumName
	case *dwarf.TypedefType:
		return t.Name
	case *dwarf.PtrType:
		if f, ok := t.Type.(*dwarf.FuncType); ok {
			return signature(f, "(*)")
		}
		return typeName(t.Type) + " *"
	case *dwarf.ArrayType:
		if t.Count < 0 {
			return typeName(t.Type) + "[]"
		}
		return fmt.Sprintf("%s[%d]", typeName(t.Type), t.Count)
	case *dwarf.FuncType:
		return signature(t, "")
	case *dwarf.VoidType:
		return "void"
	}
	return t.String()
}

func signature(f *dwarf.FuncType, name string) string {
	var params []string
	for _, p := range f.ParamType {
		params = append(params, typeName(p))
	}
	if len(params) == 0 {
		params = []string{"void"}
	}
	ret := "void"
	if f.ReturnType != nil {
		ret = typeName(f.ReturnType)
	}
	return ret + " " + name + "(" + strings.Join(params, ", ") + ")"
}
