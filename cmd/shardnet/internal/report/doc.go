// Package report holds the result of a benchmark run as data, compares it with
// kernel sockets and with the goals, and renders it: as text for a terminal, as
// JSON to keep, as the tables of a Markdown file, and as one HTML file with
// plots that needs nothing from outside.
//
// It measures nothing and knows no server. Whoever fills a [Report] answers for
// the figures; this package only takes medians, divides, and draws. What it is
// given it shows: a server slower than the kernel gets a bar as long and as
// coloured as a faster one, a goal that was missed or not measured is listed
// beside those reached, and wrong answers are named before anything else.
//
//	r := &report.Report{
//		Environment: report.Environment{Time: time.Now(), CPUs: runtime.NumCPU()},
//		Cells: []report.Cell{
//			{Workload: report.UDPEcho, Params: map[string]string{"size": "64"}, Server: report.Kernel,
//				Unit: "requests/s", Runs: []report.Run{{Rate: 170e3}}},
//			{Workload: report.UDPEcho, Params: map[string]string{"size": "64"}, Server: report.Handler,
//				Unit: "requests/s", Runs: []report.Run{{Rate: 640e3}}},
//		},
//	}
//	if err := report.WriteText(os.Stdout, r); err != nil {
//		return err
//	}
//
// A Report is plain data: safe for concurrent reading, and nothing here changes it.
package report
