package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// WriteText writes the report for a terminal: the goals, then a table for each
// workload. A name that contains control characters cannot move the cursor.
func WriteText(w io.Writer, r *Report) error {
	var b strings.Builder
	for _, s := range r.wrong() {
		fmt.Fprintf(&b, "WRONG ANSWERS: %s\n", printable(s))
	}
	fmt.Fprintln(&b, r.summary())
	fmt.Fprintln(&b)
	for _, kv := range r.Environment.stamp() {
		fmt.Fprintf(&b, "%s: %s\n", printable(kv[0]), printable(kv[1]))
	}
	for _, t := range r.allTables() {
		fmt.Fprintf(&b, "\n%s\n", printable(t.Title))
		t.align(&b)
	}
	if len(r.Notes) > 0 {
		fmt.Fprintf(&b, "\nNotes\n")
		for _, n := range r.Notes {
			fmt.Fprintf(&b, "  - %s\n", printable(n))
		}
	}
	for _, p := range r.Profiles {
		fmt.Fprintf(&b, "\nProfile of %s\n", printable(p.Name))
		for line := range strings.Lines(p.Text) {
			fmt.Fprintf(&b, "  %s\n", printable(strings.TrimRight(line, "\n")))
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// align writes the table with columns as wide as their widest field, words to
// the left and figures to the right.
func (t table) align(b *strings.Builder) {
	rows := [][]string{t.Head}
	for _, r := range t.Rows {
		row := make([]string, len(r))
		for i, f := range r {
			row[i] = printable(f.Text)
		}
		rows = append(rows, row)
	}
	width := make([]int, len(t.Head))
	for _, row := range rows {
		for i, s := range row {
			width[i] = max(width[i], utf8.RuneCountInString(s))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, s := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(s))
			if t.words(i) {
				line.WriteString("  " + s + pad)
			} else {
				line.WriteString("  " + pad + s)
			}
		}
		fmt.Fprintln(b, strings.TrimRight(line.String(), " "))
	}
}

// words reports whether a column holds words rather than figures.
func (t table) words(column int) bool {
	switch t.Head[column] {
	case "workload", "server", "goal", "measured", "verdict", "errors", "faster", "slower, and by what":
		return true
	}
	return false
}

// printable replaces what a terminal would act on.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
