package arch

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// topLevel is what may lie at the top of the repository, beside dotfiles. The
// values say whether it must be there.
var topLevel = map[string]bool{
	"driver": true, "stack": true, "socketapi": true, "apps": true, "cmd": true, "test": true,
	"go.mod": true, "go.sum": true, "Makefile": true, "README.md": true, "ARCHITECTURE.md": true, "BENCHMARKS.md": true, "LICENSE": true,
	"CONTRIBUTING.md": true, "SECURITY.md": true, "CHANGELOG.md": true,
}

// TestTopLevel keeps the top of the repository to what its reader expects.
func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	ignored := ignorePatterns(t)
	found := make(map[string]bool)
	for _, e := range entries {
		name := e.Name()
		found[name] = true
		if topLevel[name] || strings.HasPrefix(name, ".") || ignoredBy(ignored, name) {
			continue
		}
		t.Errorf("%s is at the top of the repository: only %v and dotfiles belong there", name, slices.Sorted(maps.Keys(topLevel)))
	}
	for name := range topLevel {
		if !found[name] {
			t.Errorf("%s is missing", name)
		}
	}
}

// TestPackagesAreDocumented asks every folder with Go code in it for the doc.go
// in which its package says what it owns.
func TestPackagesAreDocumented(t *testing.T) {
	folders := make(map[string][]string)
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(p, ".go") {
			folders[filepath.Dir(p)] = append(folders[filepath.Dir(p)], filepath.Base(p))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder, files := range folders {
		documented := false
		for _, f := range files {
			documented = documented || f == "doc.go" || f == "main.go"
		}
		if !documented {
			t.Errorf("%s has no doc.go: say there what the package owns and what it does not", strings.TrimPrefix(filepath.ToSlash(folder), root+"/"))
		}
	}
}

// ignorePatterns reads .gitignore. What git ignores is not of the repository.
func ignorePatterns(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	var patterns []string
	for line := range strings.Lines(string(b)) {
		if line = strings.Trim(strings.TrimSpace(line), "/"); line != "" && line[0] != '#' {
			patterns = append(patterns, line)
		}
	}
	return patterns
}

func ignoredBy(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); err == nil && ok {
			return true
		}
	}
	return false
}
