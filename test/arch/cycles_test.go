package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// maxCycle is how many files of a package may refer to each other in a circle. A
// reader must know all of them to understand one.
const maxCycle = 8

// cyclePackages are the packages that TestCycles looks at.
var cyclePackages = []string{"./stack/...", "./driver/...", "./socketapi/..."}

// cycleExempt lists packages that are one state machine: its files are chapters,
// and their order is in the package's doc.go.
var cycleExempt = []string{module + "/stack/tcp"}

// cycleExceptions lists packages that are known to have a larger cycle, with its
// present size. TestCycles fails when such a cycle is smaller than that: lower the
// number then, or remove the line.
var cycleExceptions = map[string]int{}

// TestCycles computes the reference cycles between the files of each package, as
// it is built for Linux and without its tests.
func TestCycles(t *testing.T) {
	cfg := &packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo |
			packages.NeedImports | packages.NeedExportFile,
		Dir: root,
		Env: append(os.Environ(), "GOOS=linux"),
	}
	pkgs, err := packages.Load(cfg, cyclePackages...)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, p := range pkgs {
		for _, e := range p.Errors {
			t.Errorf("%s: %v", p.PkgPath, e)
		}
		seen[p.PkgPath] = true
		if matchesAny(cycleExempt, p.PkgPath) {
			continue
		}
		g := newFileGraph(p.Fset, p.Types, p.TypesInfo)
		cycle := g.largestCycle()
		t.Logf("%s: %d", p.PkgPath, max(1, len(cycle)))
		if err := checkCycle(p.PkgPath, g, cycle, cycleExceptions); err != nil {
			t.Error(err)
		}
	}
	for p := range cycleExceptions {
		if !seen[p] {
			t.Errorf("%s is in cycleExceptions but does not exist", p)
		}
	}
}

// checkCycle compares the largest cycle of a package with maxCycle, or with the
// package's exception.
func checkCycle(pkg string, g fileGraph, cycle []string, exceptions map[string]int) error {
	limit, isException := exceptions[pkg]
	switch {
	case !isException:
		limit = maxCycle
	case limit <= maxCycle:
		return fmt.Errorf("%s has an exception of %d files, which needs none: remove it from cycleExceptions", pkg, limit)
	case len(cycle) < limit:
		return fmt.Errorf("%s has an exception for a cycle of %d files, and now one of %d: lower the exception or remove it", pkg, limit, len(cycle))
	}
	if len(cycle) <= limit {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d files of %s refer to each other in a circle, at most %d may: move declarations, or cut the package in two\n", len(cycle), pkg, limit)
	for _, from := range cycle {
		for _, to := range cycle {
			if use, ok := g[from][to]; ok {
				fmt.Fprintf(&b, "\t%s uses %s of %s in line %d\n", filepath.Base(from), use.name, filepath.Base(to), use.pos.Line)
			}
		}
	}
	return fmt.Errorf("%s", b.String())
}

// TestFileGraph tries newFileGraph and largestCycle on small packages.
func TestFileGraph(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		cycle []string
		use   [3]string // file, file and what the one uses of the other
	}{
		{
			name: "none",
			files: map[string]string{
				"a.go": "type A struct{ b B }; func (a *A) Do() { a.b.Do(); f() }",
				"b.go": "type B struct{ x int }; func (b *B) Do() { b.x = f() }",
				"c.go": "func f() int { return 0 }",
			},
			cycle: []string{"a.go"},
			use:   [3]string{"b.go", "c.go", "f"},
		},
		{
			name: "by a function",
			files: map[string]string{
				"a.go": "func f() { g() }",
				"b.go": "func g() { h() }",
				"c.go": "func h() { f() }",
				"d.go": "func i() { f() }",
			},
			cycle: []string{"a.go", "b.go", "c.go"},
			use:   [3]string{"c.go", "a.go", "f"},
		},
		{
			name: "by a method",
			files: map[string]string{
				"a.go": "type A struct{}; func (a *A) Do() { a.more() }",
				"b.go": "func (a *A) more() {}",
			},
			cycle: []string{"a.go", "b.go"},
			use:   [3]string{"a.go", "b.go", "A.more"},
		},
		{
			name: "by a method of an interface",
			files: map[string]string{
				"a.go": "type I interface{ Do() }; type A struct{}; func (A) Do() { use(nil) }",
				"b.go": "func use(i I) { if i != nil { i.Do() } }",
			},
			cycle: []string{"a.go", "b.go"},
			use:   [3]string{"a.go", "b.go", "use"},
		},
		{
			name: "by a field",
			files: map[string]string{
				"a.go": "type A struct{ n int }; var all []B",
				"b.go": "type B struct{ A }; func (b B) get() int { return b.n }",
			},
			cycle: []string{"a.go", "b.go"},
			use:   [3]string{"b.go", "a.go", "A"},
		},
		{
			name: "by the field of a generic type",
			files: map[string]string{
				"a.go": "type A[T any] struct{ v T }; func first() int { return second() }",
				"b.go": "var a = make0(); func second() int { return a.v }",
				"c.go": "func make0() (a A[int]) { return }",
			},
			cycle: []string{"a.go", "b.go", "c.go"},
			use:   [3]string{"b.go", "a.go", "v"},
		},
		{
			name: "a local of the same name",
			files: map[string]string{
				"a.go": "func f() int { g := 1; return g }",
				"b.go": "func g() int { return f() }",
			},
			cycle: []string{"a.go"},
			use:   [3]string{"b.go", "a.go", "f"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fset := token.NewFileSet()
			var files []*ast.File
			for name, src := range tc.files {
				f, err := parser.ParseFile(fset, name, "package p; "+src, 0)
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, f)
			}
			info := typesInfo()
			pkg, err := new(types.Config).Check("p", fset, files, info)
			if err != nil {
				t.Fatal(err)
			}
			g := newFileGraph(fset, pkg, info)
			if cycle := g.largestCycle(); !slices.Equal(cycle, tc.cycle) {
				t.Errorf("the largest cycle is %v, want %v", cycle, tc.cycle)
			}
			if got := g[tc.use[0]][tc.use[1]].name; got != tc.use[2] {
				t.Errorf("%s uses %q of %s, want %q", tc.use[0], got, tc.use[1], tc.use[2])
			}
		})
	}
}

// TestCheckCycle tries the limit and the exceptions.
func TestCheckCycle(t *testing.T) {
	files := make([]string, 40)
	for i := range files {
		files[i] = fmt.Sprintf("/src/%02d.go", i)
	}
	g := fileGraph{files[0]: {files[1]: {"A.more", token.Position{Line: 7}}}}
	exceptions := map[string]int{"large": 20, "small": maxCycle}
	for _, tc := range []struct {
		name, pkg string
		files     int
		want      string // part of the error, if there is to be one
	}{
		{"as many as may be", "x", maxCycle, ""},
		{"one more", "x", maxCycle + 1, "00.go uses A.more of 01.go in line 7"},
		{"exception", "large", 20, ""},
		{"exception exceeded", "large", 21, "refer to each other"},
		{"exception outlived", "large", 19, "lower the exception"},
		{"exception without need", "small", 1, "needs none"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := checkCycle(tc.pkg, g, files[:tc.files], exceptions)
			if (err != nil) != (tc.want != "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q in it", err, tc.want)
			}
		})
	}
}
