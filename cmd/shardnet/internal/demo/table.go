package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"shardnet/cmd/shardnet/internal/load"
	"shardnet/cmd/shardnet/internal/runner"
)

func measured(w load.Workload, r *load.Result) Row {
	micros := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	return Row{
		Workload: w.Name, Connections: r.Conns, Requests: r.Requests, RequestsPerSecond: r.Rate(),
		P50Micros: micros(r.Quantile(50)), P99Micros: micros(r.Quantile(99)), Lost: r.Lost, Errors: r.Errors,
	}
}

// count takes from a server's summary what belongs to the row.
func (r *Row) count(w load.Workload, sum *runner.Summary) {
	ours := r.Server == "shardnet"
	if w.Network == "udp" && !ours {
		return
	}
	var wrong, again uint64
	for _, s := range sum.Shards {
		wrong += s.WrongShard
		again += s.Retransmits
		if w.Network == "udp" {
			r.PerShard = append(r.PerShard, s.Datagrams)
		} else {
			r.PerShard = append(r.PerShard, s.Connections)
		}
	}
	if w.Network == "tcp" && ours {
		r.WrongShard, r.Retransmits = &wrong, &again
	}
}

// verify says what is wrong with a row whose answers were all right: a shard of
// ours that had nothing to do.
func (r *Row) verify() error {
	if r.Server != "shardnet" || r.Errors > 0 {
		return nil
	}
	if len(r.PerShard) != shards {
		return fmt.Errorf("%s: served on %d shards, not %d", r.Workload, len(r.PerShard), shards)
	}
	for i, n := range r.PerShard {
		if n == 0 {
			return fmt.Errorf("%s: shard %d got nothing of %d connections", r.Workload, i, r.Connections)
		}
	}
	return nil
}

// print writes the report.
func (d *demo) print() error {
	if d.cfg.JSON {
		return json.NewEncoder(d.cfg.Output).Encode(d.report)
	}
	lines := [][]string{{"workload", "server", "clients", "requests/s", "p50", "p99", "per shard", "wrong shard", "lost", "errors"}}
	for _, r := range d.report.Rows {
		wrong := "-"
		if r.WrongShard != nil {
			wrong = fmt.Sprint(*r.WrongShard)
		}
		lines = append(lines, []string{r.Workload, r.Server, fmt.Sprint(r.Connections), fmt.Sprintf("%.0f", r.RequestsPerSecond),
			duration(r.P50Micros), duration(r.P99Micros), perShard(r.PerShard), wrong, fmt.Sprint(r.Lost), fmt.Sprint(r.Errors)})
	}
	if _, err := io.WriteString(d.cfg.Output, "\n"+table(lines, 2)+"\n"); err != nil {
		return err
	}
	verdict := "Every answer was right."
	if !d.report.OK {
		verdict = "Something was wrong: see below."
	}
	return d.sayf("per shard: connections of TCP, datagrams of UDP; wrong shard: packets.\n"+
		"Clients and servers share this machine's cores, over %s:\ncompare the rows with each other and with nothing else.\n%s (%.1f s)\n",
		d.report.Network, verdict, d.report.Seconds)
}

// table aligns the columns of lines, the first few to the left, the others to the
// right.
func table(lines [][]string, left int) string {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, line := range lines {
		for i, cell := range line {
			if i > 0 {
				b.WriteString("  ")
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < left {
				b.WriteString(cell + pad)
			} else {
				b.WriteString(pad + cell)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func duration(micros float64) string {
	if micros < 1000 {
		return fmt.Sprintf("%.0f µs", micros)
	}
	return fmt.Sprintf("%.1f ms", micros/1000)
}

func perShard(n []uint64) string {
	if n == nil {
		return "-"
	}
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(n), "[]"), " ", "+")
}
