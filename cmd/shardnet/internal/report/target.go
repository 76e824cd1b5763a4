package report

import (
	"fmt"
	"maps"
	"strconv"
)

// State is what became of a goal.
type State string

// The states of a goal.
const (
	Reached     State = "reached"
	Missed      State = "missed"
	NotMeasured State = "not measured"
)

// Metric is the figure a goal is about.
type Metric string

// The metrics of goals.
const (
	RatioToKernel    Metric = "× kernel"
	RatioToReflector Metric = "of the reflector"
	RatioToOneShard  Metric = "× one shard"
	RatioToMemcached Metric = "× memcached-c"
	Allocations      Metric = "allocations per request"
	AnsweredIdle     Metric = "idle connections answered"
	IdleCPU          Metric = "% CPU at idle"
	IdleMemory       Metric = "bytes of RSS per idle connection"
)

// Target is a goal: Metric of Server under Workload is at least Bound, or at
// most, with AtMost.
type Target struct {
	Workload string
	Params   map[string]string // a cell must have these; others do not matter
	Server   string
	Metric   Metric
	Bound    float64
	AtMost   bool
}

// noAllocs is the bound of a path that must not allocate. It is not 0, because
// the runtime's own background work allocates a little during a run; a path that
// allocates once in two hundred requests is above it.
const noAllocs = 0.005

// Targets returns the goals, in the order reports list them: those of the stack
// with netstack's TCP, and then those of our own. The caller owns the slice.
func Targets() []Target { return append(netstackTargets(), fastTargets()...) }

func conns(n string) map[string]string { return map[string]string{ParamConns: n} }

func netstackTargets() []Target {
	size64 := map[string]string{ParamSize: "64"}
	return []Target{
		{Workload: UDPEcho, Params: size64, Server: Handler, Metric: RatioToKernel, Bound: 3.5},
		{Workload: UDPEcho, Params: size64, Server: Handler, Metric: RatioToReflector, Bound: 0.85},
		{Workload: MemcachedUDPGet, Server: Handler, Metric: RatioToKernel, Bound: 3.5},
		{Workload: MemcachedUDPGet, Server: Handler, Metric: RatioToReflector, Bound: 0.75},
		{Workload: UDPEcho, Params: size64, Server: Conn, Metric: RatioToKernel, Bound: 1.5},
		// A p50 of at most a quarter of the kernel's is a ratio of at least 4.
		{Workload: TCPRR, Params: conns("1"), Server: Handler, Metric: RatioToKernel, Bound: 4},
		{Workload: TCPRR, Params: conns("64"), Server: Handler, Metric: RatioToKernel, Bound: 1},
		{Workload: TCPRR, Params: conns("512"), Server: Handler, Metric: RatioToKernel, Bound: 1},
		{Workload: TCPRR, Params: conns("64"), Server: Conn, Metric: RatioToKernel, Bound: 0.8},
		{Workload: TCPRR, Params: conns("512"), Server: Conn, Metric: RatioToKernel, Bound: 0.8},
		{Workload: TCPCRR, Server: Handler, Metric: RatioToKernel, Bound: 1.3},
		{Workload: Shards, Params: map[string]string{ParamShards: "2"}, Server: Handler, Metric: RatioToOneShard, Bound: 1.9},
		// With many more connections their keep-alive timers are work, not idleness.
		{Workload: Idle, Params: conns("10000"), Server: Handler, Metric: IdleCPU, Bound: 1, AtMost: true},
		{Workload: Idle, Server: Handler, Metric: AnsweredIdle, Bound: 200_000},
		{Workload: UDPEcho, Params: size64, Server: Handler, Metric: Allocations, Bound: noAllocs, AtMost: true},
		{Workload: MemcachedUDPGet, Server: Handler, Metric: Allocations, Bound: noAllocs, AtMost: true},
		{Workload: UDPEcho, Params: size64, Server: Conn, Metric: Allocations, Bound: noAllocs, AtMost: true},
		{Workload: TCPRR, Server: Handler, Metric: Allocations, Bound: 1, AtMost: true},
		{Workload: TCPRR, Server: Conn, Metric: Allocations, Bound: 1, AtMost: true},
	}
}

func fastTargets() []Target {
	oneFlow := map[string]string{ParamFlows: "1", ParamMTU: "1500"}
	million := conns("1000000")
	return []Target{
		// A p50 of at most a seventh of the kernel's.
		{Workload: TCPRR, Params: conns("1"), Server: HandlerFast, Metric: RatioToKernel, Bound: 7},
		{Workload: TCPRR, Params: conns("64"), Server: HandlerFast, Metric: RatioToKernel, Bound: 3},
		{Workload: TCPRR, Params: conns("512"), Server: HandlerFast, Metric: RatioToKernel, Bound: 3.5},
		{Workload: TCPRR, Params: conns("512"), Server: ConnFast, Metric: RatioToKernel, Bound: 1.5},
		{Workload: TCPCRR, Server: HandlerFast, Metric: RatioToKernel, Bound: 4},
		{Workload: MemcachedGet, Server: HandlerFast, Metric: RatioToMemcached, Bound: 2.5},
		// The row kernel has its segmentation offloads off.
		{Workload: BulkReceive, Params: oneFlow, Server: HandlerFast, Metric: RatioToKernel, Bound: 1},
		{Workload: BulkSend, Params: oneFlow, Server: HandlerFast, Metric: RatioToKernel, Bound: 1},
		{Workload: Idle, Params: million, Server: HandlerFast, Metric: AnsweredIdle, Bound: 1_000_000},
		{Workload: Idle, Params: million, Server: HandlerFast, Metric: IdleMemory, Bound: 1024, AtMost: true},
		{Workload: TCPRR, Server: HandlerFast, Metric: Allocations, Bound: noAllocs, AtMost: true},
		{Workload: MemcachedGet, Server: HandlerFast, Metric: Allocations, Bound: noAllocs, AtMost: true},
		{Workload: TCPRR, Server: ConnFast, Metric: Allocations, Bound: noAllocs, AtMost: true},
	}
}

// Verdict is a goal beside what was measured.
type Verdict struct {
	Target
	Cell  Cell // zero when not measured
	Value float64
	State State
	// Reason is why the state is not what Value alone would say.
	Reason string
}

// Verdicts judges every goal: one verdict for each of [Targets], in their order.
// Where several cells are measured that a goal is about, the worst one decides.
func (r *Report) Verdicts() []Verdict {
	var out []Verdict
	for _, t := range Targets() {
		worst := Verdict{Target: t, State: NotMeasured}
		for _, c := range r.Cells {
			if v, ok := r.judge(t, c); ok && (worst.State == NotMeasured || v.worse(worst)) {
				worst = v
			}
		}
		out = append(out, worst)
	}
	return out
}

// judge returns the verdict of one cell, and false where the goal is not about
// it or its figure was not measured.
func (r *Report) judge(t Target, c Cell) (Verdict, bool) {
	if !t.covers(c) {
		return Verdict{}, false
	}
	v, ok := r.value(t, c)
	if !ok {
		return Verdict{}, false
	}
	return t.judge(c, v), true
}

// worse reports whether v is the worse of two verdicts on one goal.
func (v Verdict) worse(than Verdict) bool {
	if v.State != than.State {
		return v.State == Missed
	}
	if v.AtMost {
		return v.Value > than.Value
	}
	return v.Value < than.Value
}

// covers reports whether the goal is about the cell. A generator that sets the
// rate itself says nothing of a server's most.
func (t Target) covers(c Cell) bool {
	if c.Workload != t.Workload || c.Server != t.Server || len(c.Runs) == 0 || c.Params[ParamRate] != "" {
		return false
	}
	for k, v := range t.Params {
		if c.Params[k] != v {
			return false
		}
	}
	return true
}

func (t Target) judge(c Cell, v float64) Verdict {
	out := Verdict{Target: t, Cell: c, Value: v, State: Missed}
	if t.AtMost && v <= t.Bound || !t.AtMost && v >= t.Bound {
		out.State = Reached
	}
	if wrong := c.total(func(r Run) uint64 { return r.Wrong }); wrong > 0 {
		out.State, out.Reason = Missed, fmt.Sprintf("%d wrong answers", wrong)
	}
	if t.Metric == AnsweredIdle && out.State == Reached {
		// Every connection held has to answer, in every repetition.
		for _, run := range c.Runs {
			if held, answered := run.Extra[ExtraHeld], run.Extra[ExtraAnswered]; answered < held {
				out.State, out.Reason = Missed, fmt.Sprintf("%.0f of %.0f answered", answered, held)
			}
		}
	}
	return out
}

// value returns the goal's figure for a cell, and false where it was not measured.
func (r *Report) value(t Target, c Cell) (float64, bool) {
	switch t.Metric {
	case RatioToKernel:
		return r.ratioTo(Kernel, c)
	case RatioToReflector:
		return r.ratioTo(Reflector, c)
	case RatioToMemcached:
		return r.ratioTo(MemcachedC, c)
	case RatioToOneShard:
		params := maps.Clone(c.Params)
		params[ParamShards] = "1"
		one, ok := r.find(c.Workload, params, c.Server)
		if !ok || !(one.Median(rate) > 0) {
			return 0, false
		}
		return c.Median(rate) / one.Median(rate), true
	case Allocations:
		return c.Median(func(r Run) float64 { return r.Allocs }), c.allocsKnown()
	case IdleMemory:
		// With fewer connections what the process takes anyway would weigh more.
		want, err := strconv.ParseFloat(c.Params[ParamConns], 64)
		v := c.Median(memory)
		return v, err == nil && v > 0 && c.Min(extra(ExtraHeld)) >= want
	case IdleCPU:
		return c.Median(extra(ExtraCPUPercent)), c.has(ExtraCPUPercent)
	case AnsweredIdle:
		// A cell that held fewer says nothing of so many.
		return c.Min(extra(ExtraAnswered)), c.has(ExtraAnswered) && c.Min(extra(ExtraHeld)) >= t.Bound
	}
	return 0, false
}

func (c Cell) allocsKnown() bool {
	for _, run := range c.Runs {
		if run.AllocsUnknown {
			return false
		}
	}
	return len(c.Runs) > 0
}

// has reports whether every repetition has a figure under key.
func (c Cell) has(key string) bool {
	for _, run := range c.Runs {
		if _, ok := run.Extra[key]; !ok {
			return false
		}
	}
	return len(c.Runs) > 0
}

func extra(key string) func(Run) float64 {
	return func(r Run) float64 { return r.Extra[key] }
}

func (c Cell) total(f func(Run) uint64) uint64 {
	var n uint64
	for _, run := range c.Runs {
		n += f(run)
	}
	return n
}
