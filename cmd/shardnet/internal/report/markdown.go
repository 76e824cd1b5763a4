package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// The lines between which UpdateMarkdown puts the tables.
const (
	MarkdownBegin = "<!-- bench:begin -->"
	MarkdownEnd   = "<!-- bench:end -->"
)

// WriteMarkdown writes the tables as GitHub's Markdown, without the markers.
// Profiles are left to the other renderings.
func WriteMarkdown(w io.Writer, r *Report) error {
	var b strings.Builder
	for _, s := range r.wrong() {
		fmt.Fprintf(&b, "**Wrong answers:** %s\n\n", escapeMarkdown(s))
	}
	fmt.Fprintf(&b, "%s\n\n", r.summary())
	env := table{Head: []string{"environment", ""}}
	for _, kv := range r.Environment.stamp() {
		env.Rows = append(env.Rows, []field{plain(kv[0]), plain(kv[1])})
	}
	if len(env.Rows) > 0 {
		env.markdown(&b)
	}
	for _, t := range r.allTables() {
		fmt.Fprintf(&b, "### %s\n\n", escapeMarkdown(t.Title))
		t.markdown(&b)
	}
	if len(r.Notes) > 0 {
		fmt.Fprintf(&b, "### Notes\n\n")
		for _, n := range r.Notes {
			fmt.Fprintf(&b, "- %s\n", escapeMarkdown(n))
		}
		fmt.Fprintln(&b)
	}
	if _, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n"); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func (t table) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "| %s |\n|", strings.Join(t.Head, " | "))
	for i := range t.Head {
		if t.words(i) || t.Head[0] == "environment" {
			b.WriteString("---|")
		} else {
			b.WriteString("--:|")
		}
	}
	b.WriteString("\n")
	for _, row := range t.Rows {
		b.WriteString("|")
		for _, f := range row {
			s := escapeMarkdown(f.Text)
			// Weight, because Markdown has no colour: what is bad stands out in any viewer.
			if f.Tone == "bad" {
				s = "**" + s + "**"
			}
			b.WriteString(" " + s + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

// UpdateMarkdown replaces what is between the markers of old by r's tables and
// keeps the prose around them. A file without the two markers, in this order,
// gets them at its end. The result does not share memory with old.
func UpdateMarkdown(old []byte, r *Report) []byte {
	var b bytes.Buffer
	// The last marker: an unpaired one further up must not swallow the prose below it.
	begin := bytes.LastIndex(old, []byte(MarkdownBegin))
	end := -1
	if begin >= 0 {
		if i := bytes.Index(old[begin:], []byte(MarkdownEnd)); i >= 0 {
			end = begin + i
		}
	}
	var after []byte
	if end >= 0 {
		b.Write(old[:begin])
		after = old[end+len(MarkdownEnd):]
	} else {
		b.Write(bytes.TrimRight(old, "\n"))
		if len(old) > 0 {
			b.WriteString("\n\n")
		}
		after = []byte("\n")
	}
	b.WriteString(MarkdownBegin + "\n\n")
	// A bytes.Buffer does not fail.
	_ = WriteMarkdown(&b, r)
	b.WriteString("\n" + MarkdownEnd)
	b.Write(after)
	return b.Bytes()
}

var markdownEscaper = strings.NewReplacer("\\", "\\\\", "|", "\\|", "<", "&lt;", ">", "&gt;", "&", "&amp;",
	"`", "\\`", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]", "\r", " ", "\n", " ")

// escapeMarkdown makes s text in a table's field: no name ends the table, opens a
// tag or a link, or is taken for one of the markers.
func escapeMarkdown(s string) string {
	return markdownEscaper.Replace(printable(strings.NewReplacer("\r", " ", "\n", " ").Replace(s)))
}
