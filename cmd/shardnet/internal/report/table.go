package report

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// group is a workload with one set of parameters: the cells that may be compared.
type group struct {
	Workload string
	Params   map[string]string
	Cells    []Cell
}

// groups gathers comparable cells, in the order in which the report first names them.
func (r *Report) groups() []group {
	var out []group
next:
	for _, c := range r.Cells {
		for i := range out {
			if out[i].Workload == c.Workload && maps.Equal(out[i].Params, c.Params) {
				out[i].Cells = append(out[i].Cells, c)
				continue next
			}
		}
		out = append(out, group{Workload: c.Workload, Params: c.Params, Cells: []Cell{c}})
	}
	return out
}

// Title names the group.
func (g group) Title() string {
	if p := paramsText(g.Params); p != "" {
		return g.Workload + ", " + p
	}
	return g.Workload
}

// table is a rendering's table before it has a syntax.
type table struct {
	Title string
	Head  []string
	Rows  [][]field
}

// field is one place of a table. Tone is "", "good", "bad" or "quiet".
type field struct {
	Text string
	Tone string
}

func plain(s string) field { return field{Text: s} }

// verdictTable lists every goal.
func (r *Report) verdictTable() table {
	t := table{Title: "Goals", Head: []string{"workload", "server", "goal", "measured", "verdict"}}
	for _, v := range r.Verdicts() {
		name := v.Workload
		if p := v.params(); p != "" {
			name += ", " + p
		}
		t.Rows = append(t.Rows, []field{plain(name), plain(v.Server), plain(v.bound()), plain(v.measured()),
			{string(v.State), map[State]string{Reached: "good", Missed: "bad", NotMeasured: "quiet"}[v.State]}})
	}
	return t
}

// lossTable lists every comparison that our servers lose, with each of the ways the
// kernel was measured in. It has no rows when there is none.
func (r *Report) lossTable() table {
	t := table{Title: "Where the kernel is faster", Head: []string{"workload", "faster", "slower, and by what"}}
	for _, g := range r.groups() {
		for _, kernel := range []string{Kernel, KernelOffload, KernelNoRPS} {
			var slower []string
			for _, c := range g.Cells {
				if ratio, ok := r.ratioTo(kernel, c); ok && ours(c.Server) && ratio < level {
					slower = append(slower, c.Server+" "+ratioText(ratio))
				}
			}
			if len(slower) > 0 {
				t.Rows = append(t.Rows, []field{plain(g.Title()), plain(kernel), plain(strings.Join(slower, ", "))})
			}
		}
	}
	return t
}

// level is the least ratio that does not read as slower: it rounds to 1.00.
const level = 0.995

// allTables returns the goals, what is lost, and then tables.
func (r *Report) allTables() []table {
	out := []table{r.verdictTable()}
	if t := r.lossTable(); len(t.Rows) > 0 {
		out = append(out, t)
	}
	return append(out, r.tables()...)
}

// tables returns one table for each group.
func (r *Report) tables() []table {
	var out []table
	for _, g := range r.groups() {
		if g.Workload == Idle {
			out = append(out, idleTable(g))
		} else {
			out = append(out, r.rateTable(g))
		}
	}
	return out
}

func (r *Report) rateTable(g group) table {
	t := table{Title: g.Title(), Head: []string{"server", "median", "min – max", "vs kernel",
		"p50", "p99", "p99.9", "core ns/req", "allocs/req", "errors"}}
	for _, c := range g.Cells {
		if len(c.Runs) == 0 {
			t.Rows = append(t.Rows, notMeasured(c.Server, len(t.Head)))
			continue
		}
		t.Rows = append(t.Rows, []field{
			plain(c.Server),
			plain(rateText(c.Median(rate), c.Unit)),
			plain(spread(c)),
			r.ratioField(c),
			plain(micros(c.Median(p50))),
			plain(micros(c.Median(func(r Run) float64 { return r.P99 }))),
			plain(micros(c.Median(func(r Run) float64 { return r.P999 }))),
			plain(positive(c.Median(func(r Run) float64 { return r.ServerCPU }))),
			plain(c.allocsText()),
			c.errorsField(),
		})
	}
	return t
}

func idleTable(g group) table {
	t := table{Title: g.Title(), Head: []string{"server", "held", "answered", "RSS/connection", "heap/connection", "idle CPU", "errors"}}
	for _, c := range g.Cells {
		if len(c.Runs) == 0 {
			t.Rows = append(t.Rows, notMeasured(c.Server, len(t.Head)))
			continue
		}
		held, answered, cpu := plain(none), plain(none), none
		if c.has(ExtraHeld) {
			held.Text = digits(c.Min(extra(ExtraHeld)))
		}
		if c.has(ExtraAnswered) {
			answered.Text = digits(c.Min(extra(ExtraAnswered)))
			if c.has(ExtraHeld) && c.Min(extra(ExtraAnswered)) < c.Min(extra(ExtraHeld)) {
				answered.Tone = "bad"
			}
		}
		if c.has(ExtraCPUPercent) {
			cpu = strconv.FormatFloat(c.Median(extra(ExtraCPUPercent)), 'f', 2, 64) + " %"
		}
		t.Rows = append(t.Rows, []field{plain(c.Server), held, answered,
			plain(bytesText(c.Median(memory))), plain(bytesText(c.Median(heapMemory))), plain(cpu), c.errorsField()})
	}
	return t
}

func notMeasured(server string, columns int) []field {
	row := make([]field, columns)
	for i := range row {
		row[i] = field{none, "quiet"}
	}
	row[0], row[1] = plain(server), field{string(NotMeasured), "quiet"}
	return row
}

func (r *Report) ratioField(c Cell) field {
	ratio, ok := r.Ratio(c)
	switch {
	case c.Server == Kernel && ok:
		return field{"1×", "quiet"}
	case !ok:
		return field{none, "quiet"}
	}
	f := field{Text: ratioText(ratio)}
	if c.ByLatency() {
		f.Text += " p50"
	}
	// What rounds to 1.00 is neither.
	switch {
	case ratio >= 1.005:
		f.Tone = "good"
	case ratio < level:
		f.Tone = "bad"
	}
	return f
}

// spread is the least and the most of the repetitions, with the unit's prefix on both.
func spread(c Cell) string {
	if len(c.Runs) < 2 {
		return none
	}
	lo, _ := inUnit(c.Min(rate), c.Unit)
	hi, _ := inUnit(c.Max(rate), c.Unit)
	return scaled(lo) + " – " + scaled(hi)
}

func positive(v float64) string {
	if v <= 0 {
		return none
	}
	return digits(v)
}

func (c Cell) allocsText() string {
	if !c.allocsKnown() {
		return none
	}
	return strconv.FormatFloat(c.Median(func(r Run) float64 { return r.Allocs }), 'f', 2, 64)
}

// errorsField sums what went wrong over all repetitions.
func (c Cell) errorsField() field {
	var out []string
	for _, e := range []struct {
		name string
		f    func(Run) uint64
	}{
		{"wrong", func(r Run) uint64 { return r.Wrong }},
		{"lost", func(r Run) uint64 { return r.Lost }},
		{"failed", func(r Run) uint64 { return r.Failed }},
		{"retransmits", func(r Run) uint64 { return r.Retransmits }},
	} {
		if n := c.total(e.f); n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, e.name))
		}
	}
	if len(out) == 0 {
		return plain("0")
	}
	return field{strings.Join(out, ", "), "bad"}
}

func memory(r Run) float64     { return r.Memory }
func heapMemory(r Run) float64 { return r.HeapMemory }

// stamp lists what is known of the environment, as names and values.
func (e Environment) stamp() [][2]string {
	var out [][2]string
	add := func(name, value string) {
		if value != "" {
			out = append(out, [2]string{name, value})
		}
	}
	if !e.Time.IsZero() {
		add("time", e.Time.UTC().Format("2006-01-02 15:04 UTC"))
	}
	add("commit", e.Commit)
	build := strings.Trim(e.GOOS+"/"+e.GOARCH, "/")
	if e.GOAMD64 != "" {
		build += " " + e.GOAMD64
	}
	if e.PGO {
		build += ", profile-guided"
	}
	add("Go", strings.TrimSpace(e.GoVersion+" "+build))
	add("kernel", e.Kernel)
	cpu := e.CPUModel
	if e.CPUs > 0 {
		cpu = strings.TrimSpace(fmt.Sprintf("%d × %s", e.CPUs, cpu))
	}
	add("CPU", cpu)
	if e.Memory > 0 {
		add("memory", bytesText(float64(e.Memory)))
	}
	add("governor", e.Governor)
	add("driver", strings.TrimSpace(e.Driver+" "+e.Mode))
	if e.MTU > 0 {
		add("MTU", strconv.Itoa(e.MTU))
	}
	for _, name := range sortedKeys(e.Peers) {
		add("peer "+name, e.Peers[name])
	}
	add("command", strings.Join(e.Command, " "))
	return out
}

// short is the stamp in a line.
func (e Environment) short() string {
	var out []string
	for _, kv := range e.stamp() {
		switch kv[0] {
		case "time", "CPU":
			out = append(out, kv[1])
		case "commit", "kernel", "driver":
			out = append(out, kv[0]+" "+kv[1])
		}
	}
	return strings.Join(out, " · ")
}

// summary says in a sentence how the goals and the comparisons came out.
func (r *Report) summary() string {
	n := map[State]int{}
	for _, v := range r.Verdicts() {
		n[v.State]++
	}
	slower, compared := 0, 0
	for _, c := range r.Cells {
		if !ours(c.Server) {
			continue
		}
		if ratio, ok := r.Ratio(c); ok {
			compared++
			if ratio < level {
				slower++
			}
		}
	}
	return fmt.Sprintf("Goals: %d reached, %d missed, %d not measured. Of %d comparisons of our servers with the kernel, %d are slower than it.",
		n[Reached], n[Missed], n[NotMeasured], compared, slower)
}

// wrong names every cell with a wrong answer: with one, no figure counts.
func (r *Report) wrong() []string {
	var out []string
	for _, c := range r.Cells {
		if n := c.total(func(r Run) uint64 { return r.Wrong }); n > 0 {
			g := group{Workload: c.Workload, Params: c.Params}
			out = append(out, fmt.Sprintf("%s, %s: %d wrong answers", g.Title(), c.Server, n))
		}
	}
	return out
}
