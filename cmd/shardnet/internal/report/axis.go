package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// tick is a place on an axis, in the plot's own units of length, and its label.
type tick struct {
	At    string
	Label string
}

// px writes a length. A tenth is finer than any screen shows.
func px(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "0"
	}
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}

// scale maps values between lo and hi, which differ, to lengths between a and b.
type scale struct {
	lo, hi, a, b float64
	log          bool
}

// at returns where v lies. What is outside of the axis is drawn at its end.
func (s scale) at(v float64) float64 {
	lo, hi := s.lo, s.hi
	v = min(max(v, lo), hi)
	if s.log {
		lo, hi, v = math.Log(lo), math.Log(hi), math.Log(v)
	}
	return s.a + (v-lo)/(hi-lo)*(s.b-s.a)
}

// linear returns an axis from 0 to a round number at or above most.
func linear(most, a, b float64) (scale, []float64) {
	if !(most > 0) {
		most = 1
	}
	most = min(most, 1e15)
	step := math.Pow(10, math.Floor(math.Log10(most)))
	for _, f := range []float64{0.2, 0.25, 0.5, 1, 2} {
		if most/(step*f) <= 5 {
			step *= f
			break
		}
	}
	top := math.Ceil(most/step-1e-9) * step
	var at []float64
	for i := 0; float64(i)*step <= top*(1+1e-9); i++ {
		at = append(at, float64(i)*step)
	}
	return scale{lo: 0, hi: top, a: a, b: b}, at
}

// logarithmic returns an axis from least to most, positive, with the 1, 2 and 5
// of each decade between them. An axis too short to have two of these is
// lengthened to the next ones.
func logarithmic(least, most, a, b float64) (scale, []float64) {
	if !(least > 0) || !(most >= least) {
		least, most = 1, 10
	}
	// No figure is beyond these; a damaged one must not ask for endless ticks.
	least, most = min(max(least, 1e-9), 1e14), min(max(most, 1e-9), 1e15)
	var all []float64
	for e := math.Floor(math.Log10(least)) - 1; e <= math.Ceil(math.Log10(most))+1; e++ {
		for _, m := range []float64{1, 2, 5} {
			all = append(all, m*math.Pow(10, e))
		}
	}
	first, _ := slices.BinarySearch(all, least*(1-1e-9))
	last, _ := slices.BinarySearch(all, most*(1+1e-9))
	if last-first < 2 {
		first, last = first-1, last+1
		least, most = all[first], all[last-1]
	}
	return scale{lo: least, hi: most, a: a, b: b, log: true}, all[first:last]
}

// ticks labels as many values as fit with room between them, powers of ten
// before others. The rest keep their lines.
func (s scale) ticks(at []float64, room float64, label func(float64) string) []tick {
	out := make([]tick, len(at))
	for i, v := range at {
		out[i].At = px(s.at(v))
	}
	for _, decades := range []bool{true, false} {
		for i, v := range at {
			if e := math.Log10(v); decades && s.log && math.Abs(e-math.Round(e)) > 1e-9 {
				continue
			}
			free := out[i].Label == ""
			for j, other := range at {
				free = free && (out[j].Label == "" || math.Abs(s.at(v)-s.at(other)) >= room)
			}
			if free {
				out[i].Label = label(v)
			}
		}
	}
	return out
}

// short cuts a name to what a plot has room for. The whole of it is in the
// mark's tooltip and in the tables.
func short(s string, runes int) string {
	if utf8.RuneCountInString(s) <= runes {
		return s
	}
	return string([]rune(s)[:runes-1]) + "…"
}

// spreadLabels moves the labels' heights apart until none is nearer than gap to
// the next, within lo and hi as far as there is room, and keeps their order.
func spreadLabels(at []float64, gap, lo, hi float64) []float64 {
	order := make([]int, len(at))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		switch {
		case at[i] < at[j]:
			return -1
		case at[i] > at[j]:
			return 1
		}
		return 0
	})
	out := slices.Clone(at)
	next := lo
	for _, i := range order {
		out[i] = max(out[i], next)
		next = out[i] + gap
	}
	last := hi
	for _, i := range slices.Backward(order) {
		out[i] = min(out[i], last)
		last = out[i] - gap
	}
	return out
}

// style is how a server is drawn, the same in every plot: by colour, by dash and
// by marker, so that none of them has to be seen.
type style struct {
	Class  string // of the style sheet
	Marker string // an SVG path around 0,0
}

const (
	circle   = "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z"
	square   = "M-3.2 -3.2h6.4v6.4h-6.4z"
	triangle = "M0 -4.2L4 3H-4z"
	inverted = "M0 4.2L4 -3H-4z"
	diamond  = "M0 -4.6L4.6 0L0 4.6L-4.6 0z"
	cross    = "M-3.5 -2L-2 -3.5L0 -1.5L2 -3.5L3.5 -2L1.5 0L3.5 2L2 3.5L0 1.5L-2 3.5L-3.5 2L-1.5 0z"
)

var knownStyles = map[string]style{
	Handler:       {"handler", circle},
	HandlerFast:   {"handler-fast", circle},
	Conn:          {"conn", square},
	ConnFast:      {"conn-fast", square},
	Netstack:      {"netstack", triangle},
	Kernel:        {"kernel", diamond},
	KernelNoRPS:   {"norps", inverted},
	KernelOffload: {"offload", diamond},
	Reflector:     {"reflector", cross},
	MemcachedC:    {"memcached", triangle},
}

// styles gives every server of the report its own, peers in the order in which
// the report names them.
func (r *Report) styles() map[string]style {
	const peerStyles = 4
	markers := []string{square, diamond, inverted, circle}
	out := make(map[string]style)
	peers := 0
	for _, c := range r.Cells {
		if _, done := out[c.Server]; done {
			continue
		}
		if s, ok := knownStyles[c.Server]; ok {
			out[c.Server] = s
			continue
		}
		i := peers % peerStyles
		out[c.Server] = style{fmt.Sprintf("peer%d", i), markers[i]}
		peers++
	}
	return out
}
