package report

import (
	"fmt"
	"math"
)

// The bar charts' geometry. Names stand left of the plot and figures right of it,
// in columns of their own, so that no bar's length makes them collide.
const (
	barWidth  = 380.0
	barLeft   = 104.0
	barRight  = 306.0
	barRow    = 19.0
	barHeight = 11.0
)

// barChart is horizontal bars on one axis.
type barChart struct {
	Title, Unit   string
	Width, Height string
	Top, Bottom   string
	TickY, UnitY  string
	UnitX         string
	Base          string // where bars begin; the line of the kernel in a chart of ratios
	Ticks         []tick
	Rows          []barRowMarks
	Ratio         bool
	LabelX        string
}

// barRowMarks is one row: a heading, or a bar with what stands beside it.
type barRowMarks struct {
	Heading  string
	Name     string
	Tip      string
	TextY    string
	MidY     string
	Y, H     string
	X, W     string
	InnerW   string // the part of the bar drawn solid, where there is one
	Tone     string
	Whisker  bool
	W0, W1   string
	CapY0    string
	CapY1    string
	Goals    []barGoal
	Value    string
	ValueX   string
	ValueTon string
	Verdict  State // of the goal, where there is one
}

// barGoal marks a goal in a bar's row.
type barGoal struct {
	X, Y0, Y1, Path, Transform, Tip string
}

// ratioCharts draws every workload that has a kernel to compare with, all on the
// same axis, so that one chart's bars can be held against another's.
func (r *Report) ratioCharts() []barChart {
	least, most := 0.5, 2.0
	for _, c := range r.Cells {
		if v, ok := r.Ratio(c); ok {
			lo, hi := r.ratioSpread(c)
			least, most = min(least, v, lo), max(most, v, hi)
		}
	}
	for _, v := range r.Verdicts() {
		if v.State != NotMeasured && v.Metric == RatioToKernel {
			least, most = min(least, v.Bound), max(most, v.Bound)
		}
	}
	// A bar that ends at the axis' end looks cut off.
	x, at := logarithmic(least*0.95, most*1.05, barLeft, barRight)
	var out []barChart
	index := make(map[string]int)
	y := make(map[string]float64)
	for _, g := range r.groups() {
		if !r.comparable(g) {
			continue
		}
		i, ok := index[g.Workload]
		if !ok {
			i = len(out)
			index[g.Workload] = i
			out = append(out, barChart{Title: g.Workload, Unit: "× kernel sockets, log scale", Ratio: true})
			y[g.Workload] = 2
		}
		top := y[g.Workload]
		if p := paramsText(g.Params); p != "" {
			out[i].Rows = append(out[i].Rows, barRowMarks{Heading: short(p, 62), Tip: g.Title(), TextY: px(top + 15)})
			top += 21
		}
		for _, c := range g.Cells {
			out[i].Rows = append(out[i].Rows, r.ratioRow(c, x, top))
			top += barRow
		}
		y[g.Workload] = top + 4
	}
	for i := range out {
		out[i].frame(x, x.at(1), at, y[out[i].Title], func(v float64) string { return significantTick(v) + "×" })
	}
	return out
}

// comparable reports whether anything in the group has a ratio but the kernel itself.
func (r *Report) comparable(g group) bool {
	for _, c := range g.Cells {
		if _, ok := r.Ratio(c); ok && c.Server != Kernel {
			return true
		}
	}
	return false
}

func (r *Report) ratioRow(c Cell, x scale, top float64) barRowMarks {
	m := newRow(c.Server, top)
	ratio, ok := r.Ratio(c)
	if !ok {
		m.Value, m.ValueTon = string(NotMeasured), "quiet"
		m.Tip = c.Server + ": not measured"
		m.Whisker = false
		return m
	}
	base, end := x.at(1), x.at(ratio)
	m.X, m.W = px(min(base, end)), px(max(math.Abs(end-base), 0.5))
	f := r.ratioField(c)
	m.Value, m.Tone, m.ValueTon = ratioText(ratio), f.Tone, f.Tone
	lo, hi := r.ratioSpread(c)
	m.whisker(x.at(lo), x.at(hi), len(c.Runs))
	what := rateText(c.Median(rate), c.Unit)
	if c.ByLatency() {
		what = "p50 " + micros(c.Median(p50))
	}
	m.Tip = fmt.Sprintf("%s: %s, %s the kernel's (%s – %s in %d runs)", c.Server, what, ratioText(ratio), ratioText(lo), ratioText(hi), len(c.Runs))
	for _, t := range Targets() {
		v, ok := r.judge(t, c)
		if !ok || t.Metric != RatioToKernel {
			continue
		}
		gx := x.at(v.Bound)
		m.Goals = append(m.Goals, barGoal{X: px(gx), Y0: px(top + 1), Y1: px(top + barRow - 1),
			Path: "M0 0L-3.5 -5H3.5z", Transform: fmt.Sprintf("translate(%s %s)", px(gx), px(top+4.5)),
			Tip: "goal: " + v.bound() + ", " + string(v.State)})
		m.Verdict = v.State
	}
	return m
}

// ratioSpread is the worst and the best repetition, each against the kernel's median.
func (r *Report) ratioSpread(c Cell) (lo, hi float64) {
	mid, ok := r.Ratio(c)
	if !ok {
		return 1, 1
	}
	if c.ByLatency() {
		m := c.Median(p50)
		if least := c.Min(p50); least > 0 {
			return mid * m / c.Max(p50), mid * m / least
		}
		return mid, mid
	}
	m := c.Median(rate)
	lo, hi = mid*c.Min(rate)/m, mid*c.Max(rate)/m
	if !(lo > 0) {
		lo = mid
	}
	return lo, hi
}

// memoryCharts draws the bytes each idle connection takes.
func (r *Report) memoryCharts() []barChart {
	var out []barChart
	for _, g := range r.groups() {
		most := 0.0
		for _, c := range g.Cells {
			most = max(most, c.Max(memory), c.Max(heapMemory))
		}
		if g.Workload != Idle || most == 0 {
			continue
		}
		x, at := linear(most/1024, barLeft, barRight)
		ch := barChart{Title: g.Title(), Unit: "KiB per idle connection"}
		top := 2.0
		for _, c := range g.Cells {
			m := newRow(c.Server, top)
			top += barRow
			rss, heap := c.Median(memory), c.Median(heapMemory)
			if rss == 0 && heap == 0 {
				m.Value, m.ValueTon = string(NotMeasured), "quiet"
				ch.Rows = append(ch.Rows, m)
				continue
			}
			m.X, m.W = px(x.at(0)), px(x.at(max(rss, heap)/1024)-x.at(0))
			if heap > 0 {
				m.InnerW = px(x.at(heap/1024) - x.at(0))
			}
			m.Value, m.Tone = bytesText(max(rss, heap)), "memory"
			if rss > 0 {
				m.whisker(x.at(c.Min(memory)/1024), x.at(c.Max(memory)/1024), len(c.Runs))
			}
			m.Tip = fmt.Sprintf("%s: %s RSS, %s heap per connection", c.Server, bytesText(rss), bytesText(heap))
			ch.Rows = append(ch.Rows, m)
		}
		ch.frame(x, x.at(0), at, top, significantTick)
		out = append(out, ch)
	}
	return out
}

func newRow(name string, top float64) barRowMarks {
	mid := top + barRow/2
	return barRowMarks{Name: short(name, 15), Tip: name, TextY: px(mid + 4), MidY: px(mid),
		Y: px(mid - barHeight/2), H: px(barHeight), CapY0: px(mid - 3), CapY1: px(mid + 3)}
}

func (m *barRowMarks) whisker(a, b float64, runs int) {
	if runs > 1 && b-a >= 0.5 {
		m.Whisker, m.W0, m.W1 = true, px(a), px(b)
	}
}

// frame closes the chart below its last row.
func (ch *barChart) frame(x scale, base float64, at []float64, bottom float64, label func(float64) string) {
	ch.Width, ch.Height = px(barWidth), px(bottom+36)
	ch.Top, ch.Bottom = "0", px(bottom)
	ch.TickY, ch.UnitY, ch.UnitX = px(bottom+14), px(bottom+30), px((barLeft+barRight)/2)
	ch.LabelX, ch.Base = px(barLeft-8), px(base)
	for i := range ch.Rows {
		// Where there is no bar, its place has room for the words.
		if ch.Rows[i].ValueX = px(barRight + 8); ch.Rows[i].W == "" {
			ch.Rows[i].ValueX = px(base + 8)
		}
	}
	ch.Ticks = x.ticks(at, 26, label)
}
