package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The line charts' geometry. Each line's name stands at its end, in a column
// right of the plot.
const (
	lineWidth  = 380.0
	lineHeight = 300.0
	lineLeft   = 46.0
	lineRight  = 284.0
	lineTop    = 22.0
	lineBottom = 256.0
)

type lineChart struct {
	Title, XLabel, YLabel    string
	Width, Height            string
	Left, Right, Top, Bottom string
	XTickY, XLabelY, MidX    string
	YTickX                   string
	XTicks, YTicks           []tick
	Lines                    []line
}

type line struct {
	Name, Tip string
	Class     string
	Path      string
	Marker    string
	Marks     []mark
	Whiskers  []whisker
	// The line's end, its label, and the leader from the one to the other.
	LabelX, LabelY, Leader string
}

type mark struct{ Transform, Tip string }

type whisker struct{ X, Y0, Y1, CapX0, CapX1 string }

// sample is a point of a line, with the least and most of the repetitions.
type sample struct {
	x, y, lo, hi float64
	tip          string
	bare         bool // without a marker of its own
}

func newLineChart(title, xLabel, yLabel string) lineChart {
	return lineChart{Title: title, XLabel: xLabel, YLabel: yLabel,
		Width: px(lineWidth), Height: px(lineHeight), Left: px(lineLeft), Right: px(lineRight),
		Top: px(lineTop), Bottom: px(lineBottom), XTickY: px(lineBottom + 16), XLabelY: px(lineBottom + 36),
		MidX: px((lineLeft + lineRight) / 2), YTickX: px(lineLeft - 6)}
}

// add draws a server's line through samples that are in the order of their x.
func (ch *lineChart) add(name string, st style, x, y scale, samples []sample) {
	l := line{Name: short(name, 13), Tip: name, Class: st.Class, Marker: st.Marker}
	var path strings.Builder
	for i, s := range samples {
		sx, sy := x.at(s.x), y.at(s.y)
		op := "L"
		if i == 0 {
			op = "M"
		}
		fmt.Fprintf(&path, "%s%s %s", op, px(sx), px(sy))
		if !s.bare {
			l.Marks = append(l.Marks, mark{fmt.Sprintf("translate(%s %s)", px(sx), px(sy)), s.tip})
		}
		if y0, y1 := y.at(s.lo), y.at(s.hi); s.hi > s.lo && s.lo > 0 && math.Abs(y0-y1) >= 0.5 && !s.bare {
			l.Whiskers = append(l.Whiskers, whisker{px(sx), px(y0), px(y1), px(sx - 3), px(sx + 3)})
		}
	}
	l.Path = path.String()
	ch.Lines = append(ch.Lines, l)
}

// label puts the lines' names beside their ends, without one upon another.
func (ch *lineChart) label(ends [][2]float64) {
	heights := make([]float64, len(ends))
	for i, e := range ends {
		heights[i] = e[1]
	}
	for i, h := range spreadLabels(heights, 13, lineTop, lineBottom) {
		ch.Lines[i].LabelX, ch.Lines[i].LabelY = px(lineRight+18), px(h+4)
		ch.Lines[i].Leader = fmt.Sprintf("M%s %sL%s %sL%s %s", px(ends[i][0]+5), px(ends[i][1]),
			px(lineRight+6), px(ends[i][1]), px(lineRight+15), px(h))
	}
}

// throughputCharts draws rates against the number of connections, where a
// workload was measured with more than one.
func (r *Report) throughputCharts(styles map[string]style) []lineChart {
	type family struct {
		workload string
		rest     map[string]string
		unit     string
		servers  []string
		samples  map[string][]sample
	}
	var families []*family
	for _, c := range r.Cells {
		conns, err := strconv.Atoi(c.Params[ParamConns])
		if err != nil || conns < 1 || len(c.Runs) == 0 || c.Workload == Idle || c.Params[ParamRate] != "" || !(c.Median(rate) > 0) {
			continue
		}
		rest := maps.Clone(c.Params)
		delete(rest, ParamConns)
		i := slices.IndexFunc(families, func(f *family) bool {
			return f.workload == c.Workload && f.unit == c.Unit && maps.Equal(f.rest, rest)
		})
		if i < 0 {
			i = len(families)
			families = append(families, &family{c.Workload, rest, c.Unit, nil, make(map[string][]sample)})
		}
		f := families[i]
		if _, ok := f.samples[c.Server]; !ok {
			f.servers = append(f.servers, c.Server)
		}
		y, _ := inUnit(c.Median(rate), c.Unit)
		lo, _ := inUnit(c.Min(rate), c.Unit)
		hi, _ := inUnit(c.Max(rate), c.Unit)
		f.samples[c.Server] = append(f.samples[c.Server], sample{x: float64(conns), y: y, lo: lo, hi: hi,
			tip: fmt.Sprintf("%s, %d connections: %s (%s)", c.Server, conns, rateText(c.Median(rate), c.Unit), spread(c))})
	}
	var out []lineChart
	for _, f := range families {
		var counts []float64
		least, most := math.Inf(1), 0.0
		for _, s := range f.samples {
			for _, p := range s {
				counts, most = append(counts, p.x), max(most, p.hi)
				// A repetition that answered nothing has no place on this axis.
				if least = min(least, p.y); p.lo > 0 {
					least = min(least, p.lo)
				}
			}
		}
		slices.Sort(counts)
		if counts = slices.Compact(counts); len(counts) < 2 {
			continue
		}
		unit := f.unit
		if unit == "bytes/s" {
			unit = "bit/s"
		}
		ch := newLineChart(group{Workload: f.workload, Params: f.rest}.Title(), "connections, log scale", unit+", log scale")
		x := scale{lo: counts[0], hi: counts[len(counts)-1], a: lineLeft + 8, b: lineRight - 8, log: true}
		y, at := logarithmic(least*0.9, most*1.1, lineBottom, lineTop)
		ch.XTicks = x.ticks(counts, 30, func(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) })
		ch.YTicks = y.ticks(at, 15, scaledTick)
		var ends [][2]float64
		for _, name := range f.servers {
			s := f.samples[name]
			slices.SortFunc(s, func(a, b sample) int { return int(a.x - b.x) })
			ch.add(name, styles[name], x, y, s)
			end := s[len(s)-1]
			ends = append(ends, [2]float64{x.at(end.x), y.at(end.y)})
		}
		ch.label(ends)
		out = append(out, ch)
	}
	return out
}

// latencyCharts draws the distribution of latencies, the tail stretched: every
// further nine takes the same width.
func (r *Report) latencyCharts(styles map[string]style) []lineChart {
	var out []lineChart
	for _, g := range r.groups() {
		lines := make([][]sample, len(g.Cells))
		least, most, nineMost := math.Inf(1), 0.0, 0.0
		for i, c := range g.Cells {
			lines[i] = c.distribution()
			for _, s := range lines[i] {
				least, most, nineMost = min(least, s.y, s.lo), max(most, s.y, s.hi), max(nineMost, s.x)
			}
		}
		if !(most > 0) || !(nineMost > 0) {
			continue
		}
		ch := newLineChart(g.Title(), "percentile of requests, %", "latency, µs, log scale")
		x := scale{lo: 0, hi: nineMost, a: lineLeft + 4, b: lineRight - 4}
		y, at := logarithmic(least*0.9, most*1.1, lineBottom, lineTop)
		for _, p := range []float64{50, 90, 99, 99.9, 99.99, 99.999, 99.9999} {
			if n := nines(p); n <= nineMost*1.001 {
				ch.XTicks = append(ch.XTicks, tick{px(x.at(n)), strconv.FormatFloat(p, 'f', -1, 64)})
			}
		}
		ch.YTicks = y.ticks(at, 15, scaledTick)
		var ends [][2]float64
		for i, c := range g.Cells {
			if s := lines[i]; len(s) > 0 {
				ch.add(c.Server, styles[c.Server], x, y, s)
				ends = append(ends, [2]float64{x.at(s[len(s)-1].x), y.at(s[len(s)-1].y)})
			}
		}
		ch.label(ends)
		out = append(out, ch)
	}
	return out
}

// nines maps a percentile p to log10(1/(1-p)): 90 is 1, 99 is 2.
func nines(percentile float64) float64 { return -math.Log10(1 - percentile/100) }

// distribution returns the median over the cell's runs at every percentile that
// the first run with a distribution has, with x in nines. The last of all, 100,
// has no place on that axis.
func (c Cell) distribution() []sample {
	var curves [][]Point
	for _, run := range c.Runs {
		if len(run.Percentiles) > 1 {
			curves = append(curves, run.Percentiles)
		}
	}
	if len(curves) == 0 {
		return nil
	}
	marked := []float64{50, 90, 99, 99.9, 99.99}
	var out []sample
	for _, p := range curves[0] {
		if p.Percentile < 0 || p.Percentile > 99.9999 || !(p.Microseconds > 0) {
			continue
		}
		var v []float64
		for _, curve := range curves {
			v = append(v, valueAt(curve, p.Percentile))
		}
		at := Cell{Runs: make([]Run, len(v))}
		for i := range v {
			at.Runs[i].Rate = v[i]
		}
		s := sample{x: nines(p.Percentile), y: at.Median(rate), lo: at.Min(rate), hi: at.Max(rate), bare: !slices.Contains(marked, p.Percentile)}
		s.tip = fmt.Sprintf("%s, p%s: %s (%s – %s)", c.Server, strconv.FormatFloat(p.Percentile, 'f', -1, 64), micros(s.y), micros(s.lo), micros(s.hi))
		if n := len(out); n > 0 && s.x <= out[n-1].x {
			continue
		}
		out = append(out, s)
	}
	return out
}

// valueAt reads an ascending distribution at a percentile, between two points by
// the straight line the plot would draw.
func valueAt(curve []Point, percentile float64) float64 {
	for i, p := range curve {
		if p.Percentile < percentile {
			continue
		}
		if i == 0 || p.Percentile == percentile || p.Percentile >= 100 {
			return p.Microseconds
		}
		a, b := nines(curve[i-1].Percentile), nines(p.Percentile)
		return curve[i-1].Microseconds + (nines(percentile)-a)/(b-a)*(p.Microseconds-curve[i-1].Microseconds)
	}
	return curve[len(curve)-1].Microseconds
}

// significantTick writes a tick's value without needless zeros.
func significantTick(v float64) string {
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// scaledTick is significantTick with a decimal prefix.
func scaledTick(v float64) string {
	switch {
	case v >= 1e9:
		return significantTick(v/1e9) + "G"
	case v >= 1e6:
		return significantTick(v/1e6) + "M"
	case v >= 1e3:
		return significantTick(v/1e3) + "k"
	}
	return significantTick(v)
}
