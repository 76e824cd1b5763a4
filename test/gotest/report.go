package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// event is a line of "go test -json": see "go doc test2json". ImportPath is that
// of build-output.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// report prints go test's events the way go test without -v does: the output of
// what failed, and a line for each package.
type report struct {
	w    *bufio.Writer
	root bool

	output map[[2]string]*strings.Builder // of tests not over yet, by package and test
	order  map[string][]string            // tests of a package not over yet, as they began

	passed, failed int
	skipped        []skip
}

// skip is a test that was skipped. Test is empty for a package without tests,
// which is no skip.
type skip struct{ pkg, test, reason string }

func newReport(w *bufio.Writer, root bool) *report {
	return &report{
		w: w, root: root,
		output: make(map[[2]string]*strings.Builder),
		order:  make(map[string][]string),
	}
}

// read takes events from r until its end, and prints as it goes.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				r.event(e)
			} else if _, err := r.w.Write(line); err != nil { // not an event: go test's own word
				return err
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func (r *report) event(e event) {
	if e.Test == "" {
		r.packageEvent(e)
		return
	}
	key := [2]string{e.Package, e.Test}
	switch e.Action {
	case "run":
		r.output[key] = new(strings.Builder)
		r.order[e.Package] = append(r.order[e.Package], e.Test)
	case "output":
		if b := r.output[key]; b != nil {
			b.WriteString(e.Output)
		}
	case "pass":
		r.passed++
		delete(r.output, key)
	case "skip":
		if b := r.output[key]; b != nil {
			r.skipped = append(r.skipped, skip{e.Package, e.Test, reason(b.String(), e.Test)})
		}
		delete(r.output, key)
	case "fail":
		r.failed++
		r.print(key)
	}
}

func (r *report) packageEvent(e event) {
	switch e.Action {
	case "build-output", "output":
		// "PASS" and "FAIL" alone are the test binary's; go test prints them with -v only.
		if e.Output != "PASS\n" {
			r.w.WriteString(e.Output)
		}
	case "fail":
		// Tests without an end: the binary panicked or ran out of time, and what
		// it said of that is in their output.
		for _, test := range r.order[e.Package] {
			r.print([2]string{e.Package, test})
		}
	case "pass", "skip":
	default:
		return
	}
	if e.Action != "output" && e.Action != "build-output" {
		delete(r.order, e.Package)
		_ = r.w.Flush() // the last Flush returns the error too
	}
}

// print writes a test's output, once, without what only -v shows.
func (r *report) print(key [2]string) {
	b := r.output[key]
	if b == nil {
		return
	}
	delete(r.output, key)
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(strings.TrimSpace(line), "=== ") {
			continue
		}
		r.w.WriteString(line)
	}
}

// reason is what a skipped test said last before "--- SKIP".
func reason(output, test string) string {
	var last string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		last = line
	}
	if last == "" {
		return "no reason given"
	}
	return last
}

// finish prints the sums, and reports whether the skipped tests are in order.
func (r *report) finish() bool {
	fmt.Fprintf(r.w, "\n%d tests passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skipped))
	for _, s := range r.skipped {
		fmt.Fprintf(r.w, "skipped: %s %s: %s\n", s.pkg, s.test, s.reason)
	}
	if r.root && len(r.skipped) > 0 {
		fmt.Fprintln(r.w, "FAIL: as root no test may be skipped")
		return false
	}
	return true
}
