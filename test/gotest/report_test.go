package main

import (
	"bufio"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const (
		pass = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: said in passing\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- PASS: TestA (0.00s)\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.002s\n"}
{"Action":"pass","Package":"p","Elapsed":0.002}
`
		skipped = `{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: needs root: makes namespaces\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB","Elapsed":0}
`
		failed = `{"Action":"run","Package":"p","Test":"TestC"}
{"Action":"output","Package":"p","Test":"TestC","Output":"=== RUN   TestC\n"}
{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:9: got 1, want 2\n"}
{"Action":"output","Package":"p","Test":"TestC","Output":"--- FAIL: TestC (0.00s)\n"}
{"Action":"fail","Package":"p","Test":"TestC","Elapsed":0}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.002s\n"}
{"Action":"fail","Package":"p","Elapsed":0.002}
`
		panicked = `{"Action":"run","Package":"p","Test":"TestD"}
{"Action":"output","Package":"p","Test":"TestD","Output":"=== RUN   TestD\n"}
{"Action":"output","Package":"p","Test":"TestD","Output":"panic: test timed out after 1s\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t1.002s\n"}
{"Action":"fail","Package":"p","Elapsed":1.002}
`
		broken = `{"ImportPath":"p","Action":"build-output","Output":"p/x.go:1:1: syntax error\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p","Elapsed":0,"FailedBuild":"p"}
`
		noTests = `{"Action":"output","Package":"q","Output":"?   \tq\t[no test files]\n"}
{"Action":"skip","Package":"q","Elapsed":0}
`
	)
	for _, tc := range []struct {
		name      string
		in        string
		root      bool
		ok        bool
		want, not []string
	}{
		{"pass", pass, true, true, []string{"ok  \tp\t0.002s\n", "1 tests passed, 0 failed, 0 skipped"}, []string{"said in passing", "PASS"}},
		{"skip as root", skipped + pass, true, false, []string{"ok  \tp", "skipped: p TestB: b_test.go:7: needs root", "FAIL: as root"}, nil},
		{"skip without root", skipped + pass, false, true, []string{"ok  \tp", "skipped: p TestB: b_test.go:7: needs root"}, []string{"FAIL"}},
		{"fail", failed, true, true, []string{"got 1, want 2", "--- FAIL: TestC", "FAIL\tp\t0.002s", "1 failed"}, []string{"=== RUN"}},
		{"panic", panicked, true, true, []string{"test timed out", "FAIL\tp\t1.002s"}, nil},
		{"build failure", broken, true, true, []string{"syntax error", "[build failed]"}, nil},
		{"no tests", noTests, true, true, []string{"[no test files]", "0 skipped"}, nil},
		{"not an event", "go: cannot find main module\n", true, true, []string{"go: cannot find main module\n"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out strings.Builder
			w := bufio.NewWriter(&out)
			r := newReport(w, tc.root)
			if err := r.read(strings.NewReader(tc.in)); err != nil {
				t.Fatal(err)
			}
			if ok := r.finish(); ok != tc.ok {
				t.Errorf("finish says %v", ok)
			}
			w.Flush()
			for _, s := range tc.want {
				if !strings.Contains(out.String(), s) {
					t.Errorf("lacks %q:\n%s", s, out.String())
				}
			}
			for _, s := range tc.not {
				if strings.Contains(out.String(), s) {
					t.Errorf("has %q:\n%s", s, out.String())
				}
			}
		})
	}
}
