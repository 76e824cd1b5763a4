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

// TestVerdictsOfFastTCP judges the goals of our own TCP, which are by its own rows.
func TestVerdictsOfFastTCP(t *testing.T) {
	cell := func(workload string, params map[string]string, server string, runs ...Run) Cell {
		return Cell{Workload: workload, Params: params, Server: server, Runs: runs}
	}
	rr, get := conns("512"), conns("64")
	bulk := map[string]string{ParamFlows: "1", ParamMTU: "1500"}
	million := conns("1000000")
	held := func(held, memory float64) Run {
		return Run{Memory: memory, Extra: map[string]float64{ExtraHeld: held, ExtraAnswered: held}}
	}
	for _, tc := range []struct {
		name     string
		cells    []Cell
		workload string
		server   string
		metric   Metric
		params   map[string]string
		state    State
		value    float64
	}{
		{"handler is not handler-fast", []Cell{cell(TCPRR, rr, Kernel, rates(100)...), cell(TCPRR, rr, Handler, rates(400)...)},
			TCPRR, HandlerFast, RatioToKernel, rr, NotMeasured, 0},
		{"of the kernel", []Cell{cell(TCPRR, rr, Kernel, rates(100)...), cell(TCPRR, rr, HandlerFast, rates(350)...)},
			TCPRR, HandlerFast, RatioToKernel, rr, Reached, 3.5},
		{"a seventh of its p50", []Cell{cell(TCPRR, conns("1"), Kernel, Run{P50: 35}), cell(TCPRR, conns("1"), HandlerFast, Run{P50: 5.6})},
			TCPRR, HandlerFast, RatioToKernel, conns("1"), Missed, 6.25},
		{"of memcached", []Cell{cell(MemcachedGet, get, Kernel, rates(1)...), cell(MemcachedGet, get, MemcachedC, rates(100)...), cell(MemcachedGet, get, HandlerFast, rates(250)...)},
			MemcachedGet, HandlerFast, RatioToMemcached, nil, Reached, 2.5},
		{"no memcached", []Cell{cell(MemcachedGet, get, Kernel, rates(100)...), cell(MemcachedGet, get, HandlerFast, rates(250)...)},
			MemcachedGet, HandlerFast, RatioToMemcached, nil, NotMeasured, 0},
		{"the kernel with offloads does not count", []Cell{cell(BulkSend, bulk, Kernel, rates(100)...), cell(BulkSend, bulk, KernelOffload, rates(300)...), cell(BulkSend, bulk, HandlerFast, rates(100)...)},
			BulkSend, HandlerFast, RatioToKernel, bulk, Reached, 1},
		{"a kilobyte", []Cell{cell(Idle, million, HandlerFast, held(1e6, 1024))}, Idle, HandlerFast, IdleMemory, million, Reached, 1024},
		{"more than a kilobyte", []Cell{cell(Idle, million, HandlerFast, held(1e6, 1025))}, Idle, HandlerFast, IdleMemory, million, Missed, 1025},
		{"fewer than asked for", []Cell{cell(Idle, million, HandlerFast, held(999_999, 900))}, Idle, HandlerFast, IdleMemory, million, NotMeasured, 0},
		{"memory not measured", []Cell{cell(Idle, million, HandlerFast, held(1e6, 0))}, Idle, HandlerFast, IdleMemory, million, NotMeasured, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := verdict(t, &Report{Cells: tc.cells}, tc.workload, tc.server, tc.metric, tc.params)
			if v.State != tc.state || v.Value != tc.value {
				t.Errorf("%s, %v, want %s, %v", v.State, v.Value, tc.state, tc.value)
			}
		})
	}
}

// TestLosses: every way the kernel beats ours is listed, and no other comparison.
func TestLosses(t *testing.T) {
	bulk := map[string]string{ParamFlows: "1"}
	cell := func(server string, rate float64) Cell {
		return Cell{Workload: BulkSend, Params: bulk, Server: server, Runs: rates(rate)}
	}
	r := &Report{Cells: []Cell{
		cell(Handler, 80), cell(HandlerFast, 120), cell(ConnFast, 99.6), cell(Netstack, 10),
		cell(Kernel, 100), cell(KernelOffload, 200), cell(MemcachedC, 900),
	}}
	var got []string
	for _, row := range r.lossTable().Rows {
		got = append(got, row[1].Text+": "+row[2].Text)
	}
	want := "kernel: handler 0.80×; kernel-offload: handler 0.40×, handler-fast 0.60×, conn-fast 0.50×"
	if s := strings.Join(got, "; "); s != want {
		t.Errorf("lost: %s, want %s", s, want)
	}
	for _, tb := range (&Report{Cells: []Cell{cell(Handler, 101), cell(Kernel, 100)}}).allTables() {
		if tb.Title == r.lossTable().Title {
			t.Error("a table of losses without one")
		}
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
