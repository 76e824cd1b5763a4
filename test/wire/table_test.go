//go:build linux

package wire

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write DIFFERENCES.md anew")

const table = "DIFFERENCES.md"

// TestDifferences holds DIFFERENCES.md to what the scripts list, which TestWire holds
// to what the targets do.
func TestDifferences(t *testing.T) {
	want := differences()
	if *update {
		if err := os.WriteFile(table, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the scripts say: make it anew with go test ./test/wire -run TestDifferences -update", table)
	}
}

// differences writes the table.
func differences() string {
	var b strings.Builder
	count, total := map[string]int{}, 0
	for _, th := range themes {
		for _, s := range th.scripts {
			total++
			for _, d := range s.differs {
				count[d.target]++
			}
		}
	}
	fmt.Fprintf(&b, `# Where the kernel, netstack and the shard's own TCP differ

Made from the scripts of this folder by `+"`go test ./test/wire -run TestDifferences -update`"+`. TestWire fails when a target does
something else than is listed here, and when it no longer does what is.

Of %d conversations, each target goes its own way in:

| target | conversations |
|---|---|
`, total)
	for _, name := range targets {
		fmt.Fprintf(&b, "| %s | %d |\n", name, count[name])
	}
	for _, th := range themes {
		var rows []string
		for _, s := range th.scripts {
			for _, d := range s.differs {
				rows = append(rows, fmt.Sprintf("| %s | %s | %s | RFC %s: %s |\n", s.name, d.target, d.does, s.rfc, d.word))
			}
		}
		if len(rows) > 0 {
			fmt.Fprintf(&b, "\n## %s\n\n| conversation | target | what it does | what the RFC says |\n|---|---|---|---|\n%s", th.name, strings.Join(rows, ""))
		}
	}
	return b.String()
}

// TestScripts holds the scripts to the language, without running them: every line can be
// read, names are not used twice, and a target has lines of its own if, and only
// if, it has a difference.
func TestScripts(t *testing.T) {
	for _, th := range themes {
		names := make(map[string]bool)
		for _, s := range th.scripts {
			if names[s.name] || s.name == "" || s.rfc == "" {
				t.Errorf("%s/%s: a script has a name of its own, and an RFC", th.name, s.name)
			}
			names[s.name] = true
			if err := s.check(); err != nil {
				t.Errorf("%s/%s: %v", th.name, s.name, err)
			}
		}
	}
}

func (s *script) check() error {
	lines := func(target string, own bool) (l []string, err error) {
		steps, err := s.steps(target, own)
		for _, st := range steps {
			l = append(l, st.line)
		}
		return l, err
	}
	for _, name := range targets {
		own, err := lines(name, true)
		if err != nil {
			return err
		}
		others, err := lines(name, false)
		if err != nil {
			return err
		}
		if s.differsOn(name) && slices.Equal(own, others) {
			return fmt.Errorf("%s has a difference, and no line of its own", name)
		}
	}
	all, err := parse(s.text)
	if err != nil {
		return err
	}
	for _, st := range all {
		for _, on := range st.on {
			if on != "else" && !s.differsOn(on) {
				return fmt.Errorf("%q: no difference of %s is listed", st.line, on)
			}
		}
	}
	for _, d := range s.differs {
		if !slices.Contains(targets, d.target) || d.does == "" || d.word == "" {
			return fmt.Errorf("a difference names a target, what it does and what the RFC says")
		}
	}
	return nil
}
