package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// nameIndex is what the Go files of the repository declare, whatever their build
// constraints, and which files there are.
type nameIndex struct {
	files    map[string]bool                // paths, seen from the top
	folders  map[string]bool                // likewise
	bases    map[string]bool                // the last elements of both
	names    map[string]bool                // everything declared: package-level, methods, fields
	packages map[string]map[string]bool     // package name to its package-level names
	inFolder map[string]map[string]bool     // folder to its package-level names
	members  map[string]map[string]bool     // type name to its methods and fields
	embedded map[string]map[string]struct{} // type name to the names of types embedded
}

// indexNames reads the Go files below top.
func indexNames(top string) (*nameIndex, error) {
	idx := &nameIndex{
		files:    make(map[string]bool),
		folders:  make(map[string]bool),
		bases:    make(map[string]bool),
		names:    make(map[string]bool),
		packages: make(map[string]map[string]bool),
		inFolder: make(map[string]map[string]bool),
		members:  make(map[string]map[string]bool),
		embedded: make(map[string]map[string]struct{}),
	}
	err := walkRepository(top, func(p string) error {
		idx.files[p] = true
		idx.bases[path.Base(p)] = true
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			idx.folders[dir] = true
			idx.bases[path.Base(dir)] = true
		}
		if !strings.HasSuffix(p, ".go") || strings.Contains(p, "testdata/") {
			return nil
		}
		src, err := os.ReadFile(filepath.Join(top, p))
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, src, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		idx.addFile(path.Dir(p), f)
		return nil
	})
	return idx, err
}

func (idx *nameIndex) addFile(folder string, f *ast.File) {
	pkg := strings.TrimSuffix(f.Name.Name, "_test")
	declare := func(name string) {
		add(idx.packages, pkg, name)
		add(idx.inFolder, folder, name)
		idx.names[name] = true
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				declare(d.Name.Name)
			} else if t := typeName(d.Recv.List[0].Type); t != "" {
				idx.addMember(t, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					declare(s.Name.Name)
					idx.addType(s.Name.Name, s.Type)
				case *ast.ValueSpec:
					for _, n := range s.Names {
						declare(n.Name)
					}
				}
			}
		}
	}
}

// addType adds the fields or methods in a type's declaration; of another type by
// whose name it is declared, those too.
func (idx *nameIndex) addType(name string, t ast.Expr) {
	var list *ast.FieldList
	switch t := t.(type) {
	case *ast.StructType:
		list = t.Fields
	case *ast.InterfaceType:
		list = t.Methods
	default:
		idx.embed(name, t)
		return
	}
	for _, f := range list.List {
		for _, n := range f.Names {
			idx.addMember(name, n.Name)
			// A struct without a name: its fields count as the outer one's.
			if _, ok := f.Type.(*ast.StructType); ok {
				idx.addType(name, f.Type)
			}
		}
		if len(f.Names) == 0 {
			idx.embed(name, f.Type)
		}
	}
}

func (idx *nameIndex) embed(name string, t ast.Expr) {
	inner := typeName(t)
	if inner == "" || inner == name {
		return
	}
	idx.addMember(name, inner)
	if idx.embedded[name] == nil {
		idx.embedded[name] = make(map[string]struct{})
	}
	idx.embedded[name][inner] = struct{}{}
}

func (idx *nameIndex) addMember(t, member string) {
	add(idx.members, t, member)
	idx.names[member] = true
}

func add(m map[string]map[string]bool, key, value string) {
	if m[key] == nil {
		m[key] = make(map[string]bool)
	}
	m[key][value] = true
}

// typeName returns the last element of a type's name, without pointers, arguments
// and package.
func typeName(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.Ident:
		return t.Name
	case *ast.StarExpr:
		return typeName(t.X)
	case *ast.SelectorExpr:
		return t.Sel.Name
	case *ast.IndexExpr:
		return typeName(t.X)
	case *ast.IndexListExpr:
		return typeName(t.X)
	case *ast.ParenExpr:
		return typeName(t.X)
	}
	return ""
}

func (idx *nameIndex) isPackage(name string) bool { return idx.packages[name] != nil }

func (idx *nameIndex) declares(name string) bool { return idx.names[name] }

func (idx *nameIndex) packageHas(folder, name string) bool { return idx.inFolder[folder][name] }

// hasFile reports whether there is a file or folder of that path or, if it is a bare
// name, of that name anywhere.
func (idx *nameIndex) hasFile(p string) bool {
	return idx.hasPath(p) || !strings.Contains(p, "/") && anyMatch(idx.bases, p)
}

// hasPath reports whether there is a file or folder of that path.
func (idx *nameIndex) hasPath(p string) bool {
	p = path.Clean(p)
	return anyMatch(idx.files, p) || anyMatch(idx.folders, p)
}

func anyMatch(set map[string]bool, pattern string) bool {
	if set[pattern] {
		return true
	}
	if !strings.Contains(pattern, "*") {
		return false
	}
	for p := range set {
		if ok, err := path.Match(pattern, p); err == nil && ok {
			return true
		}
	}
	return false
}

// resolve looks up a package's name or a type's member, or the member of a package's
// type. Packages and types of the same name are tried all.
func (idx *nameIndex) resolve(parts []string) error {
	first, rest := parts[0], parts[1:]
	pkg, isPackage := idx.packages[first]
	if isPackage && pkg[rest[0]] {
		if len(rest) == 1 || idx.hasMember(rest[0], rest[1], nil) {
			return nil
		}
		return fmt.Errorf("%s has no %s", rest[0], rest[1])
	}
	if idx.hasMember(first, rest[0], nil) {
		return nil
	}
	switch {
	case isPackage:
		return fmt.Errorf("package %s has no %s", first, rest[0])
	case idx.members[first] != nil:
		return fmt.Errorf("%s has no %s", first, rest[0])
	}
	return fmt.Errorf("%s is no package and no type of ours", first)
}

// hasMember reports whether a type has a method or field, of its own or by
// embedding.
func (idx *nameIndex) hasMember(t, member string, seen map[string]bool) bool {
	if idx.members[t][member] {
		return true
	}
	if seen == nil {
		seen = make(map[string]bool)
	}
	seen[t] = true
	for inner := range idx.embedded[t] {
		if !seen[inner] && idx.hasMember(inner, member, seen) {
			return true
		}
	}
	return false
}
