package cli

import (
	"slices"
	"testing"

	"github.com/spf13/pflag"
)

// TestLists: list flags may be repeated, and take commas.
func TestLists(t *testing.T) {
	var p prefixes
	var a addrs
	var c cpus
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.Var(&p, "p", "")
	f.Var(&a, "a", "")
	f.Var(&c, "c", "")
	err := f.Parse([]string{"--p", "198.18.0.2/24,2001:db8::2/64", "--p", "198.19.0.2/16", "--a", "198.18.0.1", "--a", "2001:db8::1", "--c", "0,4-6", "--c", "2"})
	if err != nil {
		t.Fatal(err)
	}
	if p.String() != "198.18.0.2/24,2001:db8::2/64,198.19.0.2/16" || a.String() != "198.18.0.1,2001:db8::1" {
		t.Errorf("%v, %v", p.String(), a.String())
	}
	if !slices.Equal(c, cpus{0, 4, 5, 6, 2}) {
		t.Errorf("CPUs %v", c)
	}
}

func TestSize(t *testing.T) {
	for in, want := range map[string]int{"1": 1, "65536": 65536, "512k": 512 << 10, "2M": 2 << 20, "1023m": 1023 << 20} {
		var z size
		if err := z.Set(in); err != nil || int(z) != want {
			t.Errorf("%s: %d, %v", in, z, err)
		}
	}
	for _, in := range []string{"", "k", "0", "0m", "-1", "1g", "1.5m", "2048m", "99999999999999999999"} {
		var z size
		if err := z.Set(in); err == nil {
			t.Errorf("%q is taken as %d", in, z)
		}
	}
}

func TestOneLine(t *testing.T) {
	err := errorString("first\n\n  second\nthird")
	if got := oneLine(err); got != "first; second; third" {
		t.Errorf("%q", got)
	}
}

type errorString string

func (e errorString) Error() string { return string(e) }
