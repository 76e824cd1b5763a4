package report

import (
	"bytes"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// readSample reads the fixture: figures invented to exercise the renderings.
func readSample(t *testing.T) *Report {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "sample.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := ReadJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("%s, line %d (go test -update writes it anew):\n got %q\nwant %q", name, i+1, g[i], w[i])
		}
	}
	if len(g) != len(w) {
		t.Fatalf("%s has %d lines, want %d", name, len(g), len(w))
	}
}

func TestWriteText(t *testing.T) {
	var b bytes.Buffer
	if err := WriteText(&b, readSample(t)); err != nil {
		t.Fatal(err)
	}
	golden(t, "sample.txt", b.Bytes())
}

func TestWriteMarkdown(t *testing.T) {
	var b bytes.Buffer
	if err := WriteMarkdown(&b, readSample(t)); err != nil {
		t.Fatal(err)
	}
	golden(t, "sample.md", b.Bytes())
}

func TestJSONRoundTrip(t *testing.T) {
	want := readSample(t)
	var b bytes.Buffer
	if err := WriteJSON(&b, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadJSON(&b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Error("a report written and read is another")
	}
}

func TestReadJSONRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":      "",
		"other format": `{"format": 2}`,
		"no format":    `{}`,
		"more behind":  `{"format": 1} {}`,
		"cut off":      `{"format": 1, "cells": [`,
	} {
		if r, err := ReadJSON(strings.NewReader(text)); err == nil {
			t.Errorf("%s: read as %+v", name, r)
		}
	}
}

func TestWriteJSONNamesWhatIsNoNumber(t *testing.T) {
	for name, run := range map[string]Run{
		"server_cpu":  {ServerCPU: math.Inf(1)},
		"rate":        {Rate: math.NaN()},
		"extra x":     {Extra: map[string]float64{"x": math.NaN()}},
		"percentiles": {Percentiles: []Point{{50, math.NaN()}}},
	} {
		r := &Report{Cells: []Cell{{Workload: TCPRR, Server: Handler, Runs: []Run{{}, run}}}}
		err := WriteJSON(io.Discard, r)
		if err == nil || !strings.Contains(err.Error(), "tcp-rr of handler, run 2: "+name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestUpdateMarkdown(t *testing.T) {
	r := &Report{Notes: []string{"a note"}}
	var tables bytes.Buffer
	if err := WriteMarkdown(&tables, r); err != nil {
		t.Fatal(err)
	}
	block := MarkdownBegin + "\n\n" + tables.String() + "\n" + MarkdownEnd
	for _, tc := range []struct{ name, old, want string }{
		{"empty", "", block + "\n"},
		{"without markers", "# Title\n\nprose\n", "# Title\n\nprose\n\n" + block + "\n"},
		{"between prose", "before\n" + MarkdownBegin + "\nold\n" + MarkdownEnd + "\nafter\n", "before\n" + block + "\nafter\n"},
		{"begin only", "a\n" + MarkdownBegin + "\nb\n", "a\n" + MarkdownBegin + "\nb\n\n" + block + "\n"},
		{"unpaired begin above", MarkdownBegin + "\nprose\n" + block, MarkdownBegin + "\nprose\n" + block},
		{"end before begin", MarkdownEnd + "\n" + MarkdownBegin + "\n", MarkdownEnd + "\n" + MarkdownBegin + "\n\n" + block + "\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := UpdateMarkdown([]byte(tc.old), r)
			if string(got) != tc.want {
				t.Errorf("got %q\nwant %q", got, tc.want)
			}
			if again := UpdateMarkdown(got, r); !bytes.Equal(again, got) {
				t.Errorf("a second update changes it to %q", again)
			}
		})
	}
}

// TestWrongAnswersComeFirst checks that no rendering hides them.
func TestWrongAnswersComeFirst(t *testing.T) {
	r := readSample(t)
	r.Cells[3].Runs[1].Wrong = 3
	for name, write := range writers {
		var b bytes.Buffer
		if err := write(&b, r); err != nil {
			t.Fatal(err)
		}
		wrong, goals := strings.Index(b.String(), "3 wrong answers"), strings.Index(b.String(), "3.50× kernel")
		if wrong < 0 || goals < 0 || wrong > goals {
			t.Errorf("%s: wrong answers at %d, goals at %d", name, wrong, goals)
		}
	}
}

var writers = map[string]func(io.Writer, *Report) error{"text": WriteText, "markdown": WriteMarkdown, "html": WriteHTML}

// TestWritersFail checks that a writer's error is the rendering's.
func TestWritersFail(t *testing.T) {
	writers := map[string]func(io.Writer, *Report) error{"text": WriteText, "markdown": WriteMarkdown, "html": WriteHTML, "json": WriteJSON}
	for name, write := range writers {
		if err := write(closedPipe(), &Report{}); err == nil || !strings.Contains(err.Error(), "write report") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func closedPipe() io.Writer {
	r, w := io.Pipe()
	r.Close()
	return w
}

func TestTextEscapesControls(t *testing.T) {
	r := &Report{Notes: []string{"a\x1b[2Jb"}, Cells: []Cell{{Workload: "w\r\n", Server: "\x07x\u202e", Runs: rates(1)}}}
	var b bytes.Buffer
	if err := WriteText(&b, r); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\x07\r\u202e") {
		t.Errorf("control characters are left in %q", b.String())
	}
}

func TestMarkdownEscapes(t *testing.T) {
	evil := "a|b\n" + MarkdownEnd + "<script>[x](y)"
	r := &Report{Notes: []string{evil}, Cells: []Cell{{Workload: evil, Server: evil, Params: map[string]string{evil: evil}, Runs: rates(1)}}}
	var b bytes.Buffer
	if err := WriteMarkdown(&b, r); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{MarkdownEnd, "<script>", "[x](y)", "a|b"} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("%q is left in\n%s", bad, b.String())
		}
	}
}
