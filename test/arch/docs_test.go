package arch

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docPages are the pages whose names TestDocs looks up, beside every doc.go. Of
// BENCHMARKS.md a program writes the most, and CHANGELOG.md keeps names that are
// gone.
var docPages = []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"}

// foreignNames are names of other people's code that pages give as such.
var foreignNames = map[string]bool{
	// Netstack.
	"NetworkEndpoint.HandlePacket":   true,
	"Stack.Pause":                    true,
	"protocol.dispatcher.processors": true,
	"rackControl.detectLoss":         true,
	"receiver.acceptable":            true,
	"tcp.Endpoint":                   true,
	// github.com/asavie/xdp and Wireshark.
	"Program.Attach":               true,
	"frame.packet_flags_direction": true,
}

// standardPackages are the packages of Go's library that pages name members of.
var standardPackages = map[string]bool{
	"bytes": true, "context": true, "crypto": true, "errors": true, "http": true, "io": true, "net": true, "netip": true, "os": true,
	"runtime": true, "sync": true, "testing": true, "time": true,
}

// madePaths are files that the build makes.
var madePaths = map[string]bool{"bin": true, "bin/shardnet": true, "bin/bench.html": true, "bin/bench.json": true, "bin/profiles": true}

var (
	fence      = regexp.MustCompile("(?ms)^```.*?^```")
	codeSpan   = regexp.MustCompile("`([^`\n]+)`")
	identifier = regexp.MustCompile(`^[A-Za-z_]\w*$`)
	camelCase  = regexp.MustCompile(`^[A-Z]\w*[a-z]|[a-z0-9][A-Z]`)
	dotted     = regexp.MustCompile(`^[A-Za-z]\w*(\.[A-Za-z]\w*)+$`)
	pathLike   = regexp.MustCompile(`^[\w.*-]+(/[\w.*-]+)*(/\.\.\.)?/?$`)
	fileName   = regexp.MustCompile(`\.(go|md|sh|c|o|pgo|mod|yml)$`)

	docLink   = regexp.MustCompile(`\[([A-Za-z][\w.]*)\]`)
	docDotted = regexp.MustCompile(`(?:^|[\s(\["])([A-Za-z]\w*(?:\.[A-Za-z]\w*)+)(?:[^\w/]|$)`)
	docFolder = regexp.MustCompile(`(?:^|[\s(\["])((?:\./)?(?:apps|cmd|driver|internal|socketapi|stack|test|testdata)/[\w./*-]*\w)`)
)

// TestDocs looks up the names and paths that the pages and every doc.go give.
func TestDocs(t *testing.T) {
	idx, err := indexNames(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range docPages {
		src, err := os.ReadFile(filepath.Join(root, page))
		if os.IsNotExist(err) {
			continue // TestTopLevel says which must be there
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range checkPage(idx, page, string(src)) {
			t.Error(b)
		}
	}
	docs := 0
	err = walkRepository(root, func(p string) error {
		if path.Base(p) != "doc.go" {
			return nil
		}
		docs++
		src, err := os.ReadFile(filepath.Join(root, p))
		if err != nil {
			return err
		}
		for _, b := range checkDocGo(idx, p, string(src)) {
			t.Error(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if docs < 10 {
		t.Errorf("found only %d doc.go", docs)
	}
}

// checkPage returns the names and paths in a page's backticks that do not exist.
// The rule, for a span of code outside fenced blocks:
//
//   - with a space, a '-' in front, or any of ",=:(" in it, it is a command or an
//     expression, and passed over; but for "()" at the end, which is dropped
//   - a path (it has a '/') must exist, seen from the top of the repository; a bare
//     file name (foo.go) must exist somewhere; '*' is a wildcard. An import path of
//     somebody else's, with a dot before the first '/' or of Go's library, is passed over
//   - "TestX/case" and "BenchmarkX/case" name the function
//   - a.b and a.b.c must be a member of a package or a type of ours, except for those
//     of standardPackages and foreignNames
//   - a single word in CamelCase must be declared somewhere, as anything. One without
//     capital letters may be a word of any kind, and is passed over, as is one
//     without small letters (SO_REUSEPORT)
func checkPage(idx *nameIndex, page, src string) (broken []string) {
	blank := func(s string) string { return strings.Repeat("\n", strings.Count(s, "\n")) }
	src = fence.ReplaceAllStringFunc(src, blank)
	for i, line := range strings.Split(src, "\n") {
		for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
			if err := idx.checkSpan(m[1]); err != nil {
				broken = append(broken, fmt.Sprintf("%s:%d: %v", page, i+1, err))
			}
		}
	}
	return broken
}

// checkDocGo returns the names and paths in a package comment that do not exist.
// Indented lines are code and passed over; elsewhere checked are links ([Name]),
// words with a dot between identifiers (but RCV.NXT and other variables of the RFCs),
// file names, and paths from a folder at the top.
func checkDocGo(idx *nameIndex, file, src string) (broken []string) {
	folder := path.Dir(file)
	for i, line := range strings.Split(src, "\n") {
		text, isComment := strings.CutPrefix(line, "//")
		if !isComment || strings.HasPrefix(text, "\t") {
			continue
		}
		report := func(err error) {
			if err != nil {
				broken = append(broken, fmt.Sprintf("%s:%d: %v", file, i+1, err))
			}
		}
		for _, m := range docLink.FindAllStringSubmatch(text, -1) {
			if name := m[1]; identifier.MatchString(name) && camelCase.MatchString(name) {
				if !idx.packageHas(folder, name) {
					report(fmt.Errorf("%s is not declared in %s", name, folder))
				}
			}
		}
		for _, m := range docDotted.FindAllStringSubmatch(text, -1) {
			switch name := m[1]; {
			case fileName.MatchString(name):
				if !idx.hasFile(folder+"/"+name) && !idx.hasFile(name) {
					report(fmt.Errorf("%s does not exist in %s", name, folder))
				}
			default:
				report(idx.checkDotted(name))
			}
		}
		for _, m := range docFolder.FindAllStringSubmatch(text, -1) {
			if p := m[1]; !idx.hasPath(folder+"/"+p) && !idx.hasPath(p) {
				report(idx.checkPath(p))
			}
		}
	}
	return broken
}

// checkSpan is checkPage's rule.
func (idx *nameIndex) checkSpan(s string) error {
	s = strings.TrimSuffix(s, "()")
	if strings.HasPrefix(s, "-") || strings.ContainsAny(s, " ,=:(") && !isTestName(s) {
		return nil
	}
	switch {
	case isTestName(s):
		name, _, _ := strings.Cut(s, "/")
		if !idx.declares(name) {
			return fmt.Errorf("%s is not declared anywhere", name)
		}
		return nil
	case strings.Contains(s, "/") || fileName.MatchString(s):
		return idx.checkPath(s)
	case dotted.MatchString(s):
		return idx.checkDotted(s)
	case identifier.MatchString(s) && camelCase.MatchString(s) && !foreignNames[s]:
		if !idx.declares(s) {
			return fmt.Errorf("%s is not declared anywhere", s)
		}
	}
	return nil
}

func isTestName(s string) bool {
	return regexp.MustCompile(`^(Test|Benchmark|Fuzz)[A-Z]\w*(/|$)`).MatchString(s)
}

func (idx *nameIndex) checkPath(s string) error {
	first, _, below := strings.Cut(s, "/")
	isForeign := below && (strings.Contains(strings.TrimPrefix(first, "."), ".") || standardPackages[first])
	if !pathLike.MatchString(s) || isForeign || madePaths[s] {
		return nil
	}
	s = strings.TrimPrefix(strings.TrimSuffix(strings.TrimSuffix(s, "/"), "/..."), "./")
	if strings.Contains(s, "/") && idx.hasPath(s) || !strings.Contains(s, "/") && idx.hasFile(s) {
		return nil
	}
	return fmt.Errorf("%s does not exist", s)
}

func (idx *nameIndex) checkDotted(s string) error {
	first, _, _ := strings.Cut(s, ".")
	switch {
	case foreignNames[s], standardPackages[first] && !idx.isPackage(first):
		return nil
	case strings.ToUpper(s) == s: // a variable of an RFC: SND.UNA
		return nil
	}
	return idx.resolve(strings.Split(s, "."))
}

// walkRepository calls f with the path of each file below the top, without what is
// hidden or made. Paths are seen from the top and have slashes.
func walkRepository(top string, f func(p string) error) error {
	return filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); rel != "." && (strings.HasPrefix(name, ".") && name != ".ci" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		return f(filepath.ToSlash(rel))
	})
}

// TestCheckPage tries the rules on a small repository.
func TestCheckPage(t *testing.T) {
	top := t.TempDir()
	for name, src := range map[string]string{
		"box/box.go": "package box\ntype Box struct { lid; Size, weight int }\ntype lid struct{ hinge int }\n" +
			"func (b *Box) Open() error { return nil }\nfunc (l lid) Turn() {}\ntype Opener interface { Open() error }\n" +
			"type Pile[T any] struct { top T }\nfunc (p *Pile[T]) Push(T) {}\nvar allBoxes []Box\nconst MaxBoxes = 3\n",
		"box/box_test.go":      "package box\nfunc TestBox(t *testing.T) {}\n",
		"box/testdata/list.md": "",
		"cmd/tool/main.go":     "package main\nfunc main() {}\n",
	} {
		p := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	idx, err := indexNames(top)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		text string
		want string // the only error, without its place; none if empty
	}{
		{"Box.Shut", ""}, // no code
		{"`Box.Open` and `box.Box`, `box.Box.Open`, `Box.Size`, `Box.weight`, `Box.Open()`", ""},
		{"`Box.Turn` and `Box.hinge`, by embedding", ""},
		{"`Opener.Open`, `Pile.Push`, `Pile.top`", ""},
		{"`allBoxes`, `MaxBoxes`, `TestBox`, `TestBox/some case`", ""},
		{"`box.go`, `box/box.go`, `box`, `box/`, `box/...`, `box/*.go`, `cmd/tool`, `box/testdata/list.md`", ""},
		{"`--box=Gone`, `tool Gone.Now`, `net.Conn`, `net/http`, `gvisor.dev/gvisor/pkg/tcpip`, `SO_REUSEPORT`, `word`", ""},
		{"```\n`Gone.Now`\n```", ""},
		{"`Box.Shut`", "Box has no Shut"},
		{"`box.Lid`", "package box has no Lid"},
		{"`box.Box.Shut`", "Box has no Shut"},
		{"`Crate.Open`", "Crate is no package and no type of ours"},
		{"`OpenAll`", "OpenAll is not declared anywhere"},
		{"`TestGone/some case`", "TestGone is not declared anywhere"},
		{"`box/gone.go`", "box/gone.go does not exist"},
		{"`gone.go`", "gone.go does not exist"},
		{"`box/gone`", "box/gone does not exist"},
		{"`box/gone*.go`", "box/gone*.go does not exist"},
	} {
		t.Run(tc.text, func(t *testing.T) {
			got := strings.Join(checkPage(idx, "page.md", tc.text), "; ")
			if want := tc.want; want != "" {
				want = "page.md:1: " + want
				if got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			} else if got != "" {
				t.Errorf("got %q, want nothing", got)
			}
		})
	}
	for _, tc := range []struct{ text, want string }{
		{"// Package box has a [Box], [Box.Open] and Box.weight: see box.go, testdata/list.md and cmd/tool.", ""},
		{"// SND.UNA, example.com/path/x, net.Conn", ""},
		{"//\tb.Gone() is an example", ""},
		{"// [Crate]", "Crate is not declared in box"},
		{"// [Box.Shut]", "Box has no Shut"},
		{"// Then Box.Shut is called.", "Box has no Shut"},
		{"// see lid.go", "lid.go does not exist in box"},
		{"// see cmd/gone.", "cmd/gone does not exist"},
	} {
		t.Run(tc.text, func(t *testing.T) {
			got := strings.Join(checkDocGo(idx, "box/doc.go", tc.text), "; ")
			want := tc.want
			if want != "" {
				want = "box/doc.go:1: " + want
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
