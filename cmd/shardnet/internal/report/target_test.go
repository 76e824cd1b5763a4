package report

import (
	"maps"
	"strings"
	"testing"
)

// verdict returns the report's verdict on the one goal that is meant.
func verdict(t *testing.T, r *Report, workload, server string, m Metric, params map[string]string) Verdict {
	t.Helper()
	for _, v := range r.Verdicts() {
		if v.Workload == workload && v.Server == server && v.Metric == m && maps.Equal(v.Target.Params, params) {
			return v
		}
	}
	t.Fatalf("no goal for %s of %s: %s", workload, server, m)
	return Verdict{}
}

func TestReportVerdicts(t *testing.T) {
	size := map[string]string{ParamSize: "64"}
	echo := func(server string, runs ...Run) Cell {
		return Cell{Workload: UDPEcho, Params: map[string]string{ParamSize: "64", ParamConns: "64"}, Server: server, Runs: runs}
	}
	idle := func(runs ...Run) Cell { return Cell{Workload: Idle, Server: Handler, Runs: runs} }
	held := func(held, answered float64) Run {
		return Run{Extra: map[string]float64{ExtraHeld: held, ExtraAnswered: answered}}
	}
	shards := func(n string, v float64) Cell {
		return Cell{Workload: Shards, Params: map[string]string{ParamShards: n}, Server: Handler, Runs: rates(v)}
	}
	for _, tc := range []struct {
		name     string
		cells    []Cell
		workload string
		metric   Metric
		params   map[string]string
		state    State
		value    float64
		reason   string
	}{
		{"exactly reached", []Cell{echo(Kernel, rates(100)...), echo(Handler, rates(350)...)}, UDPEcho, RatioToKernel, size, Reached, 3.5, ""},
		{"missed", []Cell{echo(Kernel, rates(100)...), echo(Handler, rates(349)...)}, UDPEcho, RatioToKernel, size, Missed, 3.49, ""},
		{"no kernel", []Cell{echo(Handler, rates(350)...)}, UDPEcho, RatioToKernel, size, NotMeasured, 0, ""},
		{"no runs", []Cell{echo(Kernel, rates(100)...), echo(Handler)}, UDPEcho, RatioToKernel, size, NotMeasured, 0, ""},
		{"wrong answers", []Cell{echo(Kernel, rates(100)...), echo(Handler, Run{Rate: 900, Wrong: 2})}, UDPEcho, RatioToKernel, size, Missed, 9, "2 wrong answers"},
		{"of the reflector", []Cell{echo(Reflector, rates(1000)...), echo(Handler, rates(850)...)}, UDPEcho, RatioToReflector, size, Reached, 0.85, ""},
		{"allocates", []Cell{echo(Handler, Run{Rate: 1, Allocs: 0.01})}, UDPEcho, Allocations, size, Missed, 0.01, ""},
		{"allocates in the background", []Cell{echo(Handler, Run{Rate: 1, Allocs: 0.001})}, UDPEcho, Allocations, size, Reached, 0.001, ""},
		{"allocations not known", []Cell{echo(Handler, Run{Rate: 1, AllocsUnknown: true})}, UDPEcho, Allocations, size, NotMeasured, 0, ""},
		{"held and answered", []Cell{idle(held(210_000, 210_000), held(200_000, 200_000))}, Idle, AnsweredIdle, nil, Reached, 200_000, ""},
		{"some did not answer", []Cell{idle(held(300_000, 299_999))}, Idle, AnsweredIdle, nil, Missed, 299_999, "299999 of 300000 answered"},
		{"one run without the figure", []Cell{idle(held(300_000, 300_000), Run{})}, Idle, AnsweredIdle, nil, NotMeasured, 0, ""},
		{"two shards", []Cell{shards("1", 100), shards("2", 191)}, Shards, RatioToOneShard, map[string]string{ParamShards: "2"}, Reached, 1.91, ""},
		{"two shards without one", []Cell{shards("2", 191)}, Shards, RatioToOneShard, map[string]string{ParamShards: "2"}, NotMeasured, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &Report{Cells: tc.cells}
			v := verdict(t, r, tc.workload, Handler, tc.metric, tc.params)
			if v.State != tc.state || v.Value != tc.value || v.Reason != tc.reason {
				t.Errorf("%s, %v, %q, want %s, %v, %q", v.State, v.Value, v.Reason, tc.state, tc.value, tc.reason)
			}
		})
	}
}

func TestReportVerdictsWorstDecides(t *testing.T) {
	cell := func(conns string, allocs float64) Cell {
		return Cell{Workload: TCPRR, Params: map[string]string{ParamConns: conns}, Server: Handler, Runs: []Run{{Allocs: allocs}}}
	}
	r := &Report{Cells: []Cell{cell("1", 0.5), cell("8", 2), cell("64", 0.7)}}
	v := verdict(t, r, TCPRR, Handler, Allocations, nil)
	if v.State != Missed || v.Value != 2 || v.Cell.Params[ParamConns] != "8" {
		t.Errorf("%s with %v at %v connections, want the cell of 8", v.State, v.Value, v.Cell.Params[ParamConns])
	}
	if n := len(r.Verdicts()); n != len(Targets()) {
		t.Errorf("%d verdicts on %d goals", n, len(Targets()))
	}
}

// TestVerdictRounding checks that a goal just missed does not read as reached.
func TestVerdictRounding(t *testing.T) {
	v := Verdict{Target: Target{Metric: RatioToKernel, Bound: 1}, Value: 0.9972, State: Missed}
	if got := v.measured(); got != "0.9972× kernel" {
		t.Errorf("measured %q", got)
	}
	v = Verdict{Target: Target{Metric: RatioToReflector, Bound: 0.85}, Value: 0.8471, State: Missed}
	if got := v.measured(); !strings.HasPrefix(got, "84.71 %") {
		t.Errorf("measured %q", got)
	}
}
