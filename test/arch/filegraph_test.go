package arch

import (
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"slices"
)

// fileGraph says which files of a package refer to which: it maps a file to the
// files that it uses something of, and those to one such use.
type fileGraph map[string]map[string]fileUse

// fileUse is one use of a name in another file.
type fileUse struct {
	name string
	pos  token.Position
}

// newFileGraph finds the references between the files of one package, from what
// the type checker recorded. A file refers to another when it uses a
// package-level name, a method or a field that is declared there.
func newFileGraph(fset *token.FileSet, pkg *types.Package, info *types.Info) fileGraph {
	g := make(fileGraph)
	for id, obj := range info.Uses {
		if obj.Pkg() != pkg || !obj.Pos().IsValid() {
			continue
		}
		from, to := fset.Position(id.Pos()), fset.Position(obj.Pos()).Filename
		if from.Filename == to {
			continue
		}
		uses := g[from.Filename]
		if uses == nil {
			uses = make(map[string]fileUse)
			g[from.Filename] = uses
		}
		// The first use in the file, so that a failure reads the same each time.
		if old, ok := uses[to]; !ok || from.Offset < old.pos.Offset {
			uses[to] = fileUse{describe(obj), from}
		}
	}
	return g
}

// describe names an object with the type it belongs to, where it is a method.
func describe(obj types.Object) string {
	if f, ok := obj.(*types.Func); ok {
		if recv := f.Signature().Recv(); recv != nil {
			t := recv.Type()
			if p, ok := t.(*types.Pointer); ok {
				t = p.Elem()
			}
			if n, ok := t.(*types.Named); ok {
				return n.Obj().Name() + "." + f.Name()
			}
		}
	}
	return obj.Name()
}

// largestCycle returns the files of the largest strongly connected component,
// sorted. A file that is in no cycle is a component of one. Of equal ones it is
// the one whose first file sorts first.
func (g fileGraph) largestCycle() []string {
	var largest []string
	for _, c := range g.components() {
		if len(c) > len(largest) || len(c) == len(largest) && c[0] < largest[0] {
			largest = c
		}
	}
	return largest
}

// components is Tarjan's algorithm.
func (g fileGraph) components() [][]string {
	var (
		found   [][]string
		stack   []string
		index   = make(map[string]int) // order of discovery, from 1
		low     = make(map[string]int)
		onStack = make(map[string]bool)
		visit   func(file string)
	)
	visit = func(file string) {
		index[file] = len(index) + 1
		low[file] = index[file]
		stack = append(stack, file)
		onStack[file] = true
		for _, to := range slices.Sorted(maps.Keys(g[file])) {
			if index[to] == 0 {
				visit(to)
				low[file] = min(low[file], low[to])
			} else if onStack[to] {
				low[file] = min(low[file], index[to])
			}
		}
		if low[file] != index[file] {
			return
		}
		first := slices.Index(stack, file)
		component := slices.Clone(stack[first:])
		stack = stack[:first]
		for _, f := range component {
			onStack[f] = false
		}
		slices.Sort(component)
		found = append(found, component)
	}
	for _, file := range slices.Sorted(maps.Keys(g)) {
		if index[file] == 0 {
			visit(file)
		}
	}
	return found
}

// typesInfo is what newFileGraph needs the type checker to record.
func typesInfo() *types.Info {
	return &types.Info{Uses: make(map[*ast.Ident]types.Object)}
}
