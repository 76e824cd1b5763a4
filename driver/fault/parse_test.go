package fault

import (
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Config
	}{
		{"", Config{}},
		{"  ", Config{}},
		{"drop=1%", Config{Drop: 0.01}},
		{"drop=0.25, dir=rx", Config{Drop: 0.25, Dir: RX}},
		{"Drop=100%,dir=TX", Config{Drop: 1, Dir: TX}},
		{"corrupt=1e-4", Config{Corrupt: 1e-4}},
		{"rate=1.5gbit", Config{Rate: 1_500_000_000}},
		{"rate=64kbit,queue=3", Config{Rate: 64_000, Queue: 3}},
		{"rate=300bit", Config{Rate: 300}},
		{"reorder=5%,distance=7,hold=1s", Config{Reorder: 0.05, Distance: 7, Hold: time.Second}},
		{
			"drop=1%,seed=7,delay=5ms,reorder=2%,dup=0.1%,corrupt=1e-4,rate=10mbit,queue=64,limit=100,dir=both",
			Config{
				Drop: 0.01, Seed: 7, Delay: 5 * time.Millisecond, Reorder: 0.02, Duplicate: 0.001,
				Corrupt: 1e-4, Rate: 10_000_000, Queue: 64, Limit: 100, Dir: Both,
			},
		},
	} {
		got, err := Parse(tt.in)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.in, err)
			continue
		}
		if !same(got, tt.want) {
			t.Errorf("Parse(%q) = %v, want %v", tt.in, got, tt.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"drop", `"drop" is not key=value`},
		{"drop=1%,", `"" is not key=value`},
		{"loss=1%", `unknown fault "loss" (known: drop,`},
		{"drop=1%,drop=2%", "drop is given twice"},
		{"drop=101%", "drop=101%: not a probability"},
		{"drop=-1%", "drop=-1%: not a probability"},
		{"drop=NaN", "drop=NaN: not a probability"},
		{"dup=many", "dup=many: not a probability"},
		{"delay=5", "delay=5: not a duration such as 5ms"},
		{"delay=-5ms", "is negative"},
		{"rate=10", "rate=10: not a rate such as 10mbit"},
		{"rate=10mbps", "rate=10mbps: not a rate"},
		{"rate=0mbit", "rate=0mbit: not a rate"},
		{"rate=infgbit", "rate=infgbit: not a rate"},
		{"queue=64", "queue needs rate"},
		{"rate=1mbit,queue=x", "queue=x: not a number of frames"},
		{"rate=1mbit,queue=-1", "queue=-1: is negative"},
		{"dir=up", "dir=up: not rx, tx or both"},
		{"seed=-1", "seed=-1: not a number from 0"},
	} {
		_, err := Parse(tt.in)
		if err == nil {
			t.Errorf("Parse(%q) succeeded, want error with %q", tt.in, tt.want)
			continue
		}
		if !strings.HasPrefix(err.Error(), "parse faults: ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Parse(%q): %q, want it to contain %q", tt.in, err, tt.want)
		}
	}
}

// FuzzParse holds that what Parse accepts is valid, and survives String.
func FuzzParse(f *testing.F) {
	f.Add("drop=1%,seed=7,delay=5ms,reorder=2%,dup=0.1%,corrupt=1e-4,rate=10mbit,queue=64,dir=rx")
	f.Add("rate=0.5bit,limit=9")
	f.Add("hold=1h,distance=2")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Parse(s)
		if err != nil {
			return
		}
		if err := c.validate(); err != nil {
			t.Errorf("Parse(%q) gave an invalid configuration: %v", s, err)
		}
		back, err := Parse(c.String())
		if err != nil {
			t.Fatalf("Parse(%q).String() = %q does not parse: %v", s, c, err)
		}
		if !same(back, c) {
			t.Errorf("Parse(%q) = %+v, after String %+v", s, c, back)
		}
	})
}

// same compares all but the clock, which can't be compared.
func same(a, b Config) bool {
	a.Now, b.Now = nil, nil
	type comparable struct {
		Seed                              uint64
		Dir                               Direction
		Drop, Corrupt, Duplicate, Reorder float64
		Distance, Queue, Limit            int
		Hold, Delay                       time.Duration
		Rate                              int64
	}
	of := func(c Config) comparable {
		return comparable{
			c.Seed, c.Dir, c.Drop, c.Corrupt, c.Duplicate, c.Reorder,
			c.Distance, c.Queue, c.Limit, c.Hold, c.Delay, c.Rate,
		}
	}
	return of(a) == of(b)
}
