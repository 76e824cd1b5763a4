package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// root is the repository, seen from this package.
const root = "../.."

// TestSource applies the rules that one file's syntax can break to every Go file
// of the repository, for all systems and build tags.
func TestSource(t *testing.T) {
	files := 0
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); p != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		broken, err := checkFile(filepath.ToSlash(rel), src)
		if err != nil {
			return err
		}
		for _, b := range broken {
			t.Error(b)
		}
		files++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Errorf("found only %d Go files: is %q the repository?", files, root)
	}
}

// checkFile returns what the file, named by its path in the repository, does
// against the rules.
func checkFile(name string, src []byte) (broken []string, err error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, src, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	c := &checker{name: name, folder: filepath.ToSlash(filepath.Dir(name)), fset: fset, names: make(map[string]string)}
	c.imports(f)
	c.linknames(f)
	if isLibrary(c.folder) && !isTestFile(name) {
		c.library(f)
	}
	return c.broken, nil
}

type checker struct {
	name, folder string
	fset         *token.FileSet
	names        map[string]string // local name of an import to its path
	broken       []string
}

func (c *checker) report(pos token.Pos, format string, args ...any) {
	c.broken = append(c.broken, fmt.Sprintf("%s: %s", c.fset.Position(pos), fmt.Sprintf(format, args...)))
}

func (c *checker) imports(f *ast.File) {
	rule := ruleFor(c.folder)
	if rule == nil {
		c.report(f.Package, "no rule of test/arch says what %s may import: add the folder to ARCHITECTURE.md and a rule here, or move the file", c.folder)
		return
	}
	test := isTestFile(c.name)
	for _, spec := range f.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			c.report(spec.Pos(), "%v", err)
			continue
		}
		local := imp[strings.LastIndex(imp, "/")+1:]
		if spec.Name != nil {
			local = spec.Name.Name
		}
		c.names[local] = imp
		switch {
		case imp == "C":
			c.report(spec.Pos(), "cgo is not used: the module builds with the Go toolchain alone")
		case imp == "unsafe" && !isUnsafeFile(c.name):
			c.report(spec.Pos(), "unsafe outside *_unsafe.go: code that can break memory safety is kept apart, to be reviewed as such")
		case imp == "testing" && !test && !strings.HasSuffix(c.folder, "test") && !matches("test/...", c.folder):
			c.report(spec.Pos(), "testing outside tests, and packages for tests, which are named so: it would be linked into programs")
		case (!test || rule.tests) && !rule.allows(imp):
			c.report(spec.Pos(), "%s must not import %s: %s", c.folder, imp, rule.why)
		}
	}
}

// linknames finds go:linkname directives, which need an import of unsafe and so
// can only be where that is.
func (c *checker) linknames(f *ast.File) {
	for _, group := range f.Comments {
		for _, comment := range group.List {
			if strings.HasPrefix(comment.Text, "//go:linkname ") && !isUnsafeFile(c.name) {
				c.report(comment.Pos(), "go:linkname outside *_unsafe.go: reaching into other packages is kept apart, to be reviewed as such")
			}
		}
	}
}

// forbidden are functions that a library must not call, by import path; "*"
// stands for all of a package's.
var forbidden = map[string]map[string]string{
	"os": {
		"Exit":   "it ends a process that is not the library's",
		"Stdout": "what to print where is the program's to say",
		"Stderr": "what to print where is the program's to say: take a *slog.Logger",
	},
	"log": {"*": "a library takes a *slog.Logger, and logs nothing without one"},
	"log/slog": {
		"Default": slogWhy, "SetDefault": slogWhy,
		"Debug": slogWhy, "Info": slogWhy, "Warn": slogWhy, "Error": slogWhy, "Log": slogWhy,
		"DebugContext": slogWhy, "InfoContext": slogWhy, "WarnContext": slogWhy, "ErrorContext": slogWhy,
	},
	"fmt": {
		"Print": fmtWhy, "Printf": fmtWhy, "Println": fmtWhy,
	},
}

const (
	slogWhy = "a library logs to the *slog.Logger it was given, never to the program's default"
	fmtWhy  = "what to print where is the program's to say"
)

// library finds what only a program may do.
func (c *checker) library(f *ast.File) {
	recovers := callsRecover(f)
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok {
				switch id.Name {
				case "panic":
					if _, again := n.Args[0].(*ast.Ident); recovers && again {
						break // what was recovered, and is not the library's to keep, goes on up
					}
					c.report(n.Pos(), "a library does not panic: return an error, or drop and count")
				case "print", "println":
					c.report(n.Pos(), "a library does not call %s: %s", id.Name, fmtWhy)
				}
			}
		case *ast.SelectorExpr:
			id, ok := n.X.(*ast.Ident)
			if !ok {
				return true
			}
			imp := c.names[id.Name]
			why, ok := forbidden[imp][n.Sel.Name]
			if !ok {
				why, ok = forbidden[imp]["*"]
			}
			if ok {
				c.report(n.Pos(), "a library does not use %s.%s: %s", imp, n.Sel.Name, why)
			}
		}
		return true
	})
}

func callsRecover(f *ast.File) bool {
	found := false
	ast.Inspect(f, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			id, ok := call.Fun.(*ast.Ident)
			found = found || ok && id.Name == "recover"
		}
		return !found
	})
	return found
}

// TestCheckFile shows that each rule can be broken, and what it lets pass.
func TestCheckFile(t *testing.T) {
	for _, tc := range []struct {
		name, file, src string
		want            string // part of the one complaint; "" is none
	}{
		{"driver imports a module", "driver/x.go", `import "golang.org/x/sys/unix"`, "standard library only"},
		{"driver imports rss", "driver/x.go", `import "shardnet/driver/rss"`, "standard library only"},
		{"driver imports std", "driver/x.go", `import "net"`, ""},
		{"driver's test imports gopacket", "driver/x_test.go", `import "github.com/google/gopacket"`, ""},
		{"afxdp imports gvisor", "driver/afxdp/x.go", `import "gvisor.dev/gvisor/pkg/tcpip"`, "a driver moves frames"},
		{"afxdp imports ebpf", "driver/afxdp/x_other.go", `import "github.com/cilium/ebpf"`, ""},
		{"afxdp imports stack", "driver/afxdp/x.go", `import "shardnet/stack"`, "a driver moves frames"},
		{"drivertest imports rss", "driver/drivertest/x.go", `import "shardnet/driver/rss"`, ""},
		{"memnic imports rss", "driver/memnic/x.go", `import "shardnet/driver/rss"`, ""},
		{"memnic imports stack", "driver/memnic/x.go", `import "shardnet/stack"`, "in-memory NIC"},
		{"stack imports socketapi", "stack/x.go", `import "shardnet/socketapi"`, "under any application"},
		{"stack imports afxdp", "stack/x.go", `import "shardnet/driver/afxdp"`, "any driver"},
		{"stack imports gvisor", "stack/x.go", `import "gvisor.dev/gvisor/pkg/tcpip"`, "any driver"},
		{"udp imports gvisor", "stack/internal/udp/x.go", `import "gvisor.dev/gvisor/pkg/tcpip"`, "slow path"},
		{"netstack imports gvisor", "stack/internal/netstack/x.go", `import "gvisor.dev/gvisor/pkg/tcpip"`, ""},
		{"steer imports netstack", "stack/internal/steer/x.go", `import "shardnet/stack/internal/netstack"`, "its headers"},
		{"stack imports gopacket", "stack/internal/a/x.go", `import "github.com/google/gopacket"`, "any driver"},
		{"frametest imports gopacket", "stack/internal/frametest/x.go", `import "github.com/google/gopacket/layers"`, ""},
		{"frametest imports gvisor", "stack/internal/frametest/x.go", `import "gvisor.dev/gvisor/pkg/tcpip"`, "frames for tests"},
		{"rss imports driver", "driver/rss/x.go", `import "shardnet/driver"`, "pure functions"},
		{"wire imports rss", "driver/wire/x.go", `import "shardnet/driver/rss"`, "pure functions"},
		{"afxdp imports the engine", "driver/afxdp/x.go", `import "shardnet/stack/tcp"`, "a driver moves frames"},
		{"stack imports rss", "stack/x.go", `import "shardnet/driver/rss"`, ""},
		{"rss imports gvisor", "driver/rss/x.go", `import "gvisor.dev/gvisor/pkg/tcpip"`, "pure functions"},
		{"socketapi imports gvisor", "socketapi/x.go", `import "gvisor.dev/gvisor/pkg/waiter"`, "end in stack"},
		{"socketapi imports driver", "socketapi/x.go", `import "shardnet/driver"`, "another TCP fits"},
		{"app imports stack", "apps/echo/x.go", `import "shardnet/stack"`, "kernel sockets"},
		{"app imports socketapi", "apps/echo/x.go", `import "shardnet/socketapi"`, ""},
		{"the benchmark's baseline imports gvisor", "cmd/shardnet/internal/bench/netstack/x.go", `import "gvisor.dev/gvisor/pkg/tcpip"`, ""},
		{"the benchmark's baseline imports stack", "cmd/shardnet/internal/bench/netstack/x.go", `import "shardnet/stack"`, "as it comes"},
		{"the benchmark imports gvisor", "cmd/shardnet/internal/bench/x.go", `import "gvisor.dev/gvisor/pkg/tcpip"`, "wires"},
		{"command imports gvisor", "cmd/shardnet/x.go", `import "gvisor.dev/gvisor/pkg/tcpip"`, "wires"},
		{"test imports command", "test/e2e/x.go", `import "shardnet/cmd/shardnet/internal/cli"`, "as a user does"},
		{"command imports tests", "cmd/shardnet/x.go", `import "shardnet/test/apptest"`, "for tests"},
		{"command imports netlab", "cmd/shardnet/x.go", `import "shardnet/driver/netlab"`, ""},
		{"netlab imports driver", "driver/netlab/x.go", `import "shardnet/driver"`, "nothing of the stack"},
		{"afxdp imports netlab", "driver/afxdp/x.go", `import "shardnet/driver/netlab"`, "a driver moves frames"},
		{"a new folder", "util/x.go", `import "net"`, "no rule"},
		{"top level", "x.go", `import "net"`, "no rule"},
		{"cgo", "stack/x.go", `import "C"`, "cgo"},
		{"unsafe", "stack/x.go", `import "unsafe"`, "kept apart"},
		{"unsafe in its place", "stack/x_unsafe.go", `import "unsafe"`, ""},
		{"unsafe for one system", "stack/x_unsafe_linux.go", `import "unsafe"`, ""},
		{"unsafe in a test", "stack/x_test.go", `import "unsafe"`, "kept apart"},
		{"linkname", "stack/x.go", "//go:linkname f runtime.f\nfunc f()", "kept apart"},
		{"linkname in its place", "stack/x_unsafe.go", "import _ \"unsafe\"\n//go:linkname f runtime.f\nfunc f()", ""},
		{"testing in a library", "stack/x.go", `import "testing"`, "linked into programs"},
		{"testing in drivertest", "driver/drivertest/x.go", `import "testing"`, ""},
		{"panic", "stack/x.go", `func f() { panic("no") }`, "does not panic"},
		{"panic with what was recovered", "stack/x.go", `func f() { if p := recover(); p != nil { panic(p) } }`, ""},
		{"panic where recover is", "stack/x.go", `func f() { if p := recover(); p != nil { panic("no") } }`, "does not panic"},
		{"panic in a test", "stack/x_test.go", `func f() { panic("no") }`, ""},
		{"panic in the command", "cmd/shardnet/x.go", `func f() { panic("no") }`, ""},
		{"exit", "driver/afxdp/x.go", "import \"os\"\nfunc f() { os.Exit(1) }", "ends a process"},
		{"exit under another name", "stack/x.go", "import sys \"os\"\nfunc f() { sys.Exit(1) }", "ends a process"},
		{"log.Fatal", "apps/echo/x.go", "import \"log\"\nfunc f() { log.Fatal() }", "takes a *slog.Logger"},
		{"default logger", "socketapi/x.go", "import \"log/slog\"\nfunc f() { slog.Info(\"x\") }", "it was given"},
		{"given logger", "socketapi/x.go", "import \"log/slog\"\nfunc f(l *slog.Logger) { l.Info(\"x\") }", ""},
		{"standard output", "stack/x.go", "import \"fmt\"\nfunc f() { fmt.Println() }", "program's to say"},
		{"println", "stack/x.go", `func f() { println() }`, "program's to say"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			broken, err := checkFile(tc.file, []byte("package p\n"+tc.src))
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tc.want == "" && len(broken) != 0:
				t.Errorf("complains: %q", broken)
			case tc.want != "" && len(broken) != 1:
				t.Errorf("%d complaints, want one about %q: %q", len(broken), tc.want, broken)
			case tc.want != "" && !strings.Contains(broken[0], tc.want):
				t.Errorf("complains %q, want %q", broken[0], tc.want)
			}
		})
	}
}
