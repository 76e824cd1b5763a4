package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
)

//go:embed report.html.tmpl
var pageText string

// page is parsed once; html/template escapes every name for where it stands.
var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"figure": func(t table, column int) bool { return !t.words(column) },
}).Parse(pageText))

type pageData struct {
	Subtitle                     string
	Wrong                        []string
	Reached, Missed, NotMeasured int
	Faster, Level, Slower        int
	Stamp                        [][2]string
	Goals, Losses                table
	Ratios, Memory               []barChart
	Throughput, Latency          []lineChart
	Tables                       []table
	Notes                        []string
	Profiles                     []Profile
}

// WriteHTML writes the report as one HTML file that loads nothing: its style and
// plots are inside, and it has no script. It follows the reader's choice of a
// light or dark page.
func WriteHTML(w io.Writer, r *Report) error {
	styles := r.styles()
	d := pageData{
		Subtitle: r.Environment.short(), Wrong: r.wrong(), Stamp: r.Environment.stamp(), Goals: r.verdictTable(), Losses: r.lossTable(),
		Ratios: r.ratioCharts(), Memory: r.memoryCharts(),
		Throughput: r.throughputCharts(styles), Latency: r.latencyCharts(styles),
		Tables: r.tables(), Notes: r.Notes, Profiles: r.Profiles,
	}
	for _, v := range r.Verdicts() {
		switch v.State {
		case Reached:
			d.Reached++
		case Missed:
			d.Missed++
		default:
			d.NotMeasured++
		}
	}
	for _, c := range r.Cells {
		if !ours(c.Server) {
			continue
		}
		if _, ok := r.Ratio(c); !ok {
			continue
		}
		switch r.ratioField(c).Tone {
		case "good":
			d.Faster++
		case "bad":
			d.Slower++
		default:
			d.Level++
		}
	}
	// Whole or not at all: a template that fails must not leave half a page.
	var b bytes.Buffer
	if err := page.Execute(&b, d); err != nil {
		return fmt.Errorf("render report: %w", err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
