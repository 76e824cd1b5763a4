package report

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestLogarithmicAxis(t *testing.T) {
	for _, tc := range []struct{ least, most float64 }{{0.5, 2}, {0.17, 9.9}, {1, 1}, {3, 4}, {1e-3, 1e6}, {0, 0}, {5, 1}} {
		s, at := logarithmic(tc.least, tc.most, 0, 100)
		if len(at) < 2 || !slices.IsSorted(at) {
			t.Errorf("%v: ticks %v", tc, at)
		}
		if tc.least > 0 && tc.most >= tc.least && (s.lo > tc.least || s.hi < tc.most) {
			t.Errorf("%v: axis from %v to %v", tc, s.lo, s.hi)
		}
		for _, v := range at {
			if p := s.at(v); p < 0 || p > 100 || math.IsNaN(p) {
				t.Errorf("%v: tick %v at %v", tc, v, p)
			}
		}
	}
	s := scale{lo: 0.1, hi: 10, a: 0, b: 100, log: true}
	if half, twice := 50-s.at(0.5), s.at(2)-50; math.Abs(half-twice) > 1e-9 {
		t.Errorf("half as fast takes %v, twice as fast %v", half, twice)
	}
}

func TestLinearAxis(t *testing.T) {
	for _, most := range []float64{0, 0.003, 1, 7.3, 19, 21.5, 99, 640e3, math.NaN()} {
		s, at := linear(most, 0, 100)
		if at[0] != 0 || len(at) < 3 || len(at) > 7 || most > s.hi || s.hi > 2*max(most, 0.5) && most > 1 {
			t.Errorf("%v: axis to %v, ticks %v", most, s.hi, at)
		}
	}
}

func TestScaleTicksKeepApart(t *testing.T) {
	s, at := logarithmic(0.01, 1000, 0, 120)
	last := math.Inf(-1)
	labels := 0
	for i, tk := range s.ticks(at, 26, significantTick) {
		if tk.Label == "" {
			continue
		}
		labels++
		if p := s.at(at[i]); p-last < 26 {
			t.Errorf("label %s is %v from the last", tk.Label, p-last)
		} else {
			last = p
		}
	}
	if labels < 2 {
		t.Errorf("%d labels", labels)
	}
}

func TestSpreadLabels(t *testing.T) {
	for name, at := range map[string][]float64{
		"apart":     {10, 50, 90},
		"together":  {50, 50, 50, 50},
		"at bottom": {100, 99, 98},
		"at top":    {0, 1, 2},
		"unsorted":  {60, 10, 59, 11},
	} {
		got := spreadLabels(at, 13, 0, 100)
		for i := range got {
			if got[i] < 0 || got[i] > 100 {
				t.Errorf("%s: label %d at %v", name, i, got[i])
			}
			for j := range got {
				if i != j && math.Abs(got[i]-got[j]) < 13-1e-9 {
					t.Errorf("%s: labels %d and %d at %v and %v", name, i, j, got[i], got[j])
				}
				if at[i] < at[j] && got[i] > got[j] {
					t.Errorf("%s: labels %d and %d changed places", name, i, j)
				}
			}
		}
	}
	if got := spreadLabels([]float64{10, 50, 90}, 13, 0, 100); !slices.Equal(got, []float64{10, 50, 90}) {
		t.Errorf("labels with room were moved to %v", got)
	}
}

func TestFormat(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{rateText(657_123, "requests/s"), "657 k/s"},
		{rateText(999_600, "requests/s"), "1.00 M/s"},
		{rateText(1.25e9, "bytes/s"), "10.0 Gbit/s"},
		{rateText(38_200, "connections/s"), "38.2 k/s"},
		{rateText(12, "requests/s"), "12.0 /s"},
		{rateText(0, "requests/s"), "0"},
		{micros(0), "–"},
		{micros(7.94), "7.94 µs"},
		{micros(999.6), "1.00 ms"},
		{micros(2.5e6), "2.50 s"},
		{bytesText(512), "512 B"},
		{bytesText(5900), "5.76 KiB"},
		{digits(200_000), "200 000"},
		{digits(999), "999"},
		{digits(-1234), "-1 234"},
		{paramsText(map[string]string{"conns": "64", "size": "64", "dist": "zipf", "rate": "100"}), "64 connections, 64 B, 100/s asked, dist zipf"},
		{paramsText(map[string]string{"conns": "1", "shards": "1"}), "1 connection, 1 shard"},
		{short("長い名前です", 4), "長い名…"},
	} {
		if tc.got != tc.want {
			t.Errorf("%q, want %q", tc.got, tc.want)
		}
	}
}

// TestStylesAreInThePage: every server with a look of its own has it in the style
// sheet, and no two have the same.
func TestStylesAreInThePage(t *testing.T) {
	seen := make(map[string]string)
	for server, s := range knownStyles {
		for _, rule := range []string{".s-" + s.Class + " {", ".f-" + s.Class + " {"} {
			if !strings.Contains(pageText, rule) {
				t.Errorf("%s: the page has no rule %q", server, rule)
			}
		}
		if other, ok := seen[s.Class]; ok {
			t.Errorf("%s and %s look the same", server, other)
		}
		seen[s.Class] = server
	}
}
