package report

import (
	"maps"
	"math"
	"slices"
)

// Median returns the median of f over the cell's runs, the mean of the middle
// two of an even number, and 0 without runs.
func (c Cell) Median(f func(Run) float64) float64 {
	v := c.sorted(f)
	n := len(v)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}

// Min returns the least of f over the cell's runs, and 0 without runs.
func (c Cell) Min(f func(Run) float64) float64 {
	if v := c.sorted(f); len(v) > 0 {
		return v[0]
	}
	return 0
}

// Max returns the most of f over the cell's runs, and 0 without runs.
func (c Cell) Max(f func(Run) float64) float64 {
	if v := c.sorted(f); len(v) > 0 {
		return v[len(v)-1]
	}
	return 0
}

func (c Cell) sorted(f func(Run) float64) []float64 {
	v := make([]float64, len(c.Runs))
	for i, r := range c.Runs {
		v[i] = f(r)
	}
	slices.Sort(v)
	return v
}

// ByLatency reports whether the cell is judged by its median latency, and not by
// its rate: where the generator sets the rate (LowLoad, or a "rate" parameter),
// and on a single connection with one request under way.
func (c Cell) ByLatency() bool {
	if c.Workload == LowLoad || c.Params[ParamRate] != "" {
		return true
	}
	return c.Params[ParamConns] == "1" && (c.Workload == TCPRR || c.Workload == MemcachedGet)
}

// Ratio compares c with kernel sockets under the same workload and parameters:
// the median rate to the kernel's, or by latency the kernel's median p50 to c's.
// More than 1 is better than the kernel. It is false where either was not
// measured, and for Idle, which has no rate.
func (r *Report) Ratio(c Cell) (float64, bool) { return r.ratioTo(Kernel, c) }

func (r *Report) ratioTo(server string, c Cell) (float64, bool) {
	base, ok := r.find(c.Workload, c.Params, server)
	if !ok || c.Workload == Idle {
		return 0, false
	}
	f, invert := rate, false
	if c.ByLatency() {
		f, invert = p50, true
	}
	a, b := c.Median(f), base.Median(f)
	if invert {
		a, b = b, a
	}
	if !(a > 0) || !(b > 0) {
		return 0, false
	}
	ratio := a / b
	return ratio, !math.IsInf(ratio, 0) && ratio > 0
}

// find returns the cell of server with exactly these parameters.
func (r *Report) find(workload string, params map[string]string, server string) (Cell, bool) {
	for _, c := range r.Cells {
		if c.Workload == workload && c.Server == server && maps.Equal(c.Params, params) {
			return c, true
		}
	}
	return Cell{}, false
}

func rate(r Run) float64 { return r.Rate }
func p50(r Run) float64  { return r.P50 }
