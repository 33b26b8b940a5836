// SPDX-License-Identifier: Apache-2.0

// The ABI as Go sees it against the table that all bindings are compared with, bindings/abi_layout.tsv.

package abi

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func table(t *testing.T) [][]string {
	t.Helper()
	text, err := os.ReadFile("../../../abi_layout.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for _, line := range strings.Split(string(text), "\n") {
		if line != "" && !strings.HasPrefix(line, "#") {
			rows = append(rows, strings.Split(line, "\t"))
		}
	}
	return rows
}

// cType is a field's type in the words of the table.
func cType(kind reflect.Type) string {
	switch kind.Kind() {
	case reflect.Int8:
		return "char"
	case reflect.Int32, reflect.Uint32, reflect.Int64, reflect.Uint64:
		return kind.Kind().String() + "_t"
	case reflect.Float32:
		return "float"
	case reflect.Float64:
		return "double"
	case reflect.Array:
		return fmt.Sprintf("%s[%d]", cType(kind.Elem()), kind.Len())
	}
	for name, known := range Structs {
		if known == kind {
			return name
		}
	}
	return kind.String()
}

// problems compares rows of the table with structs; what is wrong is named.
func problems(rows [][]string, structs map[string]reflect.Type) []string {
	var found []string
	say := func(format string, arguments ...any) { found = append(found, "Go: "+fmt.Sprintf(format, arguments...)) }
	known := map[string]bool{}
	for _, row := range rows {
		kind, there := structs[row[1]]
		switch {
		case row[0] == "struct" && !there:
			say("%s is missing", row[1])
		case row[0] == "struct" && strconv.Itoa(int(kind.Size())) != row[2]:
			say("%s has %d bytes, the table says %s", row[1], kind.Size(), row[2])
		case row[0] == "field" && there:
			name := row[1] + "." + row[2]
			known[name] = true
			field, there := kind.FieldByName(row[2])
			if !there {
				say("%s is missing", name)
				continue
			}
			is := fmt.Sprintf("%s at byte %d, %d bytes", cType(field.Type), field.Offset, field.Type.Size())
			says := fmt.Sprintf("%s at byte %s, %s bytes", strings.Replace(row[3], "flashcore_status", "int32_t", 1), row[4], row[5])
			if is != says {
				say("%s is %s, the table says %s", name, is, says)
			}
		}
		known[row[1]] = known[row[1]] || row[0] == "struct"
	}
	for name, kind := range structs {
		if !known[name] {
			say("%s is not in the table", name)
			continue
		}
		for i := 0; i < kind.NumField(); i++ {
			if field := name + "." + kind.Field(i).Name; !known[field] {
				say("%s is not in the table", field)
			}
		}
	}
	return found
}

func TestStructsAreThoseOfTheTable(t *testing.T) {
	for _, problem := range problems(table(t), Structs) {
		t.Error(problem)
	}
}

func TestConstantsAreThoseOfTheTable(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range table(t) {
		if row[0] != "constant" {
			continue
		}
		seen[row[1]] = true
		if value, there := Constants[row[1]]; !there {
			t.Errorf("Go: %s is missing", row[1])
		} else if strconv.FormatInt(value, 10) != row[2] {
			t.Errorf("Go: %s is %d, the table says %s", row[1], value, row[2])
		}
	}
	for name := range Constants {
		if !seen[name] {
			t.Errorf("Go: %s is not in the table", name)
		}
	}
	if len(seen) < 40 {
		t.Errorf("the table has only %d constants", len(seen))
	}
}

// The compiler checks each call against the header; that no function was forgotten is checked here.
func TestEveryFunctionIsCalled(t *testing.T) {
	paths, err := filepath.Glob("../../*.[gh]*")
	if err != nil || len(paths) < 8 {
		t.Fatal(paths, err)
	}
	called := map[string]bool{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`(?:C\.|return )(flashcore_\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			called[match[1]] = true
		}
	}
	functions := 0
	for _, row := range table(t) {
		if row[0] == "function" {
			functions++
			if !called[row[1]] {
				t.Errorf("Go: %s is missing", row[1])
			}
		}
	}
	if functions < 20 {
		t.Errorf("the table has only %d functions", functions)
	}
}

func TestAWrongTableIsCaught(t *testing.T) {
	change := func(name string, column int, value string) string {
		rows := table(t)
		for _, row := range rows {
			if row[0] == "field" && row[1] == "flashcore_attention_args" && row[2] == name {
				row[column] = value
			}
		}
		return strings.Join(problems(rows, Structs), "\n")
	}
	for _, one := range []struct {
		name   string
		column int
		value  string
		says   string
	}{
		{"softcap", 4, "296", "Go: flashcore_attention_args.softcap is float at byte 292, 4 bytes, the table says float at byte 296"},
		{"workspace", 3, "int64_t", "Go: flashcore_attention_args.workspace is uint64_t"},
		{"kernel", 2, "kernels", "Go: flashcore_attention_args.kernels is missing"},
		{"kernel", 2, "kernels", "Go: flashcore_attention_args.kernel is not in the table"},
	} {
		if found := change(one.name, one.column, one.value); !strings.Contains(found, one.says) {
			t.Errorf("%q is not in %q", one.says, found)
		}
	}
	fewer := map[string]reflect.Type{}
	for name, kind := range Structs {
		if name != "flashcore_error" {
			fewer[name] = kind
		}
	}
	if found := problems(table(t), fewer); len(found) != 1 || found[0] != "Go: flashcore_error is missing" {
		t.Error(found)
	}
}
