package sim

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"shardnet/test/testutil"
)

var update = flag.Bool("update", false, "write the tables of testdata anew")

// golden compares a table with the one committed. Columns that are not exact may
// differ a little; so may all where floating point is not amd64's, as other compilers
// fuse multiplications and additions. Cells of "-" were left out.
func golden(t *testing.T, name, got string, exact func(column int) bool) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if testutil.RaceEnabled {
			t.Fatal("the table is written without the race detector")
		}
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string][]string) // by the row's first three cells
	rows := 0
	for line := range strings.Lines(string(b)) {
		if c := cells(line); c != nil {
			want[strings.Join(c[:3], "|")] = c
			rows++
		}
	}
	for line := range strings.Lines(got) {
		c := cells(line)
		if c == nil {
			continue
		}
		rows--
		w := want[strings.Join(c[:3], "|")]
		if len(w) != len(c) {
			t.Fatalf("%s has no row %s", name, line)
		}
		for i := range c {
			if c[i] == "-" || c[i] == w[i] || !(exact(i) && runtime.GOARCH == "amd64") && near(c[i], w[i]) {
				continue
			}
			t.Errorf("%s, %s, %s, %s: column %d is %q, was %q (-update writes the table anew)", name, c[0], c[1], c[2], i, c[i], w[i])
		}
	}
	if rows != 0 && !testutil.RaceEnabled {
		t.Errorf("%s has %d rows more", name, rows)
	}
}

// cells splits a row of a Markdown table; nil is another line.
func cells(line string) []string {
	line, ok := strings.CutPrefix(strings.TrimSpace(line), "|")
	if !ok || strings.HasPrefix(line, "---") {
		return nil
	}
	c := strings.Split(strings.TrimSuffix(line, "|"), "|")
	for i := range c {
		c[i] = strings.TrimSpace(c[i])
	}
	return c
}
