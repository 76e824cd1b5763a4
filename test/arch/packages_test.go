package arch

import (
	"sort"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// reachRule says which packages must not be among a folder's dependencies, at
// any distance.
type reachRule struct {
	folder string
	never  []string
	why    string
}

var reachRules = []reachRule{
	{"driver/...", []string{gvisor + "/...", module + "/socketapi/...", module + "/apps/..."},
		"a driver must be usable without the stack, and without linking it"},
	{"stack/...", []string{module + "/socketapi/...", module + "/apps/...", "github.com/cilium/ebpf/...", "github.com/vishvananda/netlink/..."},
		"the stack must be usable with any driver, and without linking one"},
	{"socketapi/...", []string{"github.com/cilium/ebpf/...", "github.com/vishvananda/netlink/..."},
		"a program on the in-memory NIC must not link what only AF_XDP needs"},
	{"cmd/...", []string{"testing"},
		"package testing adds its flags to the command line"},
}

// TestDependencies applies reachRules to the packages as the build sees them.
func TestDependencies(t *testing.T) {
	cfg := &packages.Config{Mode: packages.NeedName | packages.NeedImports | packages.NeedDeps, Dir: root}
	pkgs, err := packages.Load(cfg, "./...")
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) < 10 {
		t.Fatalf("loaded only %d packages", len(pkgs))
	}
	used := make(map[string]bool)
	for _, p := range pkgs {
		for _, e := range p.Errors {
			t.Errorf("%s: %v", p.PkgPath, e)
		}
		folder := strings.TrimPrefix(p.PkgPath, module+"/")
		for _, rule := range reachRules {
			if !matches(rule.folder, folder) {
				continue
			}
			used[rule.folder] = true
			if chain := findDependency(p, rule.never); chain != nil {
				t.Errorf("%s depends on %s: %s", folder, strings.Join(chain, ", by way of "), rule.why)
			}
		}
	}
	for _, rule := range reachRules {
		if !used[rule.folder] {
			t.Errorf("no package is under %s: the rule for it holds nothing", rule.folder)
		}
	}
}

// TestFindDependency shows that a dependency at a distance is found.
func TestFindDependency(t *testing.T) {
	far := &packages.Package{PkgPath: "gvisor.dev/gvisor/pkg/tcpip"}
	mid := &packages.Package{PkgPath: "example.com/mid", Imports: map[string]*packages.Package{"far": far}}
	top := &packages.Package{PkgPath: "shardnet/driver/x", Imports: map[string]*packages.Package{"mid": mid}}
	got := strings.Join(findDependency(top, []string{gvisor + "/..."}), " ")
	if want := "gvisor.dev/gvisor/pkg/tcpip example.com/mid"; got != want {
		t.Errorf("found %q, want %q", got, want)
	}
	if chain := findDependency(top, []string{"testing"}); chain != nil {
		t.Errorf("found %q where there is none", chain)
	}
}

// findDependency looks through all of p's dependencies for one that matches, and
// returns it with the packages between it and p, the nearest to p last.
func findDependency(p *packages.Package, never []string) []string {
	seen := make(map[*packages.Package]bool)
	var walk func(p *packages.Package) []string
	walk = func(p *packages.Package) []string {
		if seen[p] {
			return nil
		}
		seen[p] = true
		paths := make([]string, 0, len(p.Imports))
		for path := range p.Imports {
			paths = append(paths, path)
		}
		sort.Strings(paths)
		for _, path := range paths {
			imp := p.Imports[path]
			if matchesAny(never, imp.PkgPath) {
				return []string{imp.PkgPath}
			}
			if chain := walk(imp); chain != nil {
				return append(chain, imp.PkgPath)
			}
		}
		return nil
	}
	return walk(p)
}
