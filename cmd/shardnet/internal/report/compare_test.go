package report

import (
	"math"
	"testing"
)

func rates(v ...float64) []Run {
	out := make([]Run, len(v))
	for i := range v {
		out[i].Rate = v[i]
	}
	return out
}

func TestCellMedianMinMax(t *testing.T) {
	for _, tc := range []struct {
		name             string
		rates            []float64
		median, min, max float64
	}{
		{"none", nil, 0, 0, 0},
		{"one", []float64{7}, 7, 7, 7},
		{"odd, unsorted", []float64{9, 1, 5}, 5, 1, 9},
		{"even", []float64{8, 2, 4, 6}, 5, 2, 8},
		{"outlier", []float64{10, 10, 10, 1000, 11}, 10, 10, 1000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Cell{Runs: rates(tc.rates...)}
			if m, lo, hi := c.Median(rate), c.Min(rate), c.Max(rate); m != tc.median || lo != tc.min || hi != tc.max {
				t.Errorf("median %v, min %v, max %v, want %v, %v, %v", m, lo, hi, tc.median, tc.min, tc.max)
			}
			for i, r := range c.Runs {
				if r.Rate != tc.rates[i] {
					t.Errorf("run %d was moved", i)
				}
			}
		})
	}
}

func TestReportRatio(t *testing.T) {
	one := map[string]string{ParamConns: "1"}
	many := map[string]string{ParamConns: "64"}
	asked := map[string]string{ParamConns: "64", ParamRate: "10000"}
	fast := []Run{{Rate: 300, P50: 8}}
	slow := []Run{{Rate: 100, P50: 32}}
	for _, tc := range []struct {
		name         string
		cell, kernel Cell
		want         float64
		ok           bool
	}{
		{"rate", Cell{Workload: TCPRR, Params: many, Runs: fast}, Cell{Workload: TCPRR, Params: many, Runs: slow}, 3, true},
		{"slower", Cell{Workload: TCPRR, Params: many, Runs: slow}, Cell{Workload: TCPRR, Params: many, Runs: fast}, 1. / 3, true},
		{"one connection by latency", Cell{Workload: TCPRR, Params: one, Runs: fast}, Cell{Workload: TCPRR, Params: one, Runs: slow}, 4, true},
		{"given rate by latency", Cell{Workload: UDPEcho, Params: asked, Runs: fast}, Cell{Workload: UDPEcho, Params: asked, Runs: slow}, 4, true},
		{"one bulk flow by rate", Cell{Workload: BulkSend, Params: one, Runs: fast}, Cell{Workload: BulkSend, Params: one, Runs: slow}, 3, true},
		{"other parameters", Cell{Workload: TCPRR, Params: many, Runs: fast}, Cell{Workload: TCPRR, Params: one, Runs: slow}, 0, false},
		{"other workload", Cell{Workload: TCPRR, Params: many, Runs: fast}, Cell{Workload: TCPCRR, Params: many, Runs: slow}, 0, false},
		{"kernel without runs", Cell{Workload: TCPRR, Params: many, Runs: fast}, Cell{Workload: TCPRR, Params: many}, 0, false},
		{"without runs", Cell{Workload: TCPRR, Params: many}, Cell{Workload: TCPRR, Params: many, Runs: slow}, 0, false},
		{"latency not measured", Cell{Workload: TCPRR, Params: one, Runs: rates(3)}, Cell{Workload: TCPRR, Params: one, Runs: slow}, 0, false},
		{"idle", Cell{Workload: Idle, Runs: fast}, Cell{Workload: Idle, Runs: slow}, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.cell.Server, tc.kernel.Server = Handler, Kernel
			r := &Report{Cells: []Cell{tc.kernel, tc.cell}}
			got, ok := r.Ratio(tc.cell)
			if ok != tc.ok || math.Abs(got-tc.want) > 1e-12 {
				t.Errorf("ratio %v, %v, want %v, %v", got, ok, tc.want, tc.ok)
			}
		})
	}
}
