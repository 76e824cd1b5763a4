package netlab

import "os"

// TB is the part of testing.TB that this package uses; commands that make a lab
// need not link package testing.
type TB interface {
	Helper()
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(func())
}

// Test returns an empty lab that is closed when the test ends. Without root the
// test is skipped; as root, a lab that can't be made fails it.
func Test(t TB) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("needs root: makes network namespaces and veth pairs")
	}
	lab, err := New()
	if err != nil {
		t.Fatalf("make lab: %v", err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	return lab
}

// Pair returns the two ends of one link in a lab of its own, as Test makes it.
// The ends' Host fields are ignored: the hosts are named "a" and "b".
func Pair(t TB, a, b End, cfg LinkConfig) (*Interface, *Interface) {
	t.Helper()
	lab := Test(t)
	var err error
	if a.Host, err = lab.AddHost("a"); err != nil {
		t.Fatalf("%v", err)
	}
	if b.Host, err = lab.AddHost("b"); err != nil {
		t.Fatalf("%v", err)
	}
	ia, ib, err := lab.Connect(a, b, cfg)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return ia, ib
}
