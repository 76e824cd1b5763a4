package report

import (
	"bytes"
	"encoding/xml"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// render writes the page and parses it.
func render(t *testing.T, r *Report) (string, *html.Node) {
	t.Helper()
	var b bytes.Buffer
	if err := WriteHTML(&b, r); err != nil {
		t.Fatal(err)
	}
	doc, err := html.Parse(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), doc
}

var svgs = regexp.MustCompile(`(?s)<svg.*?</svg>`)

// checkSVGs reads every plot as XML, which forgives nothing, and looks for
// lengths that are none.
func checkSVGs(t *testing.T, text string) int {
	t.Helper()
	n := 0
	for _, svg := range svgs.FindAllString(text, -1) {
		n++
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			tok, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%v in\n%s", err, svg)
			}
			if el, ok := tok.(xml.StartElement); ok {
				for _, a := range el.Attr {
					switch a.Name.Local {
					case "x", "y", "x1", "x2", "y1", "y2", "width", "height":
						v, err := strconv.ParseFloat(a.Value, 64)
						if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || v < 0 || v > 5000 {
							t.Errorf("%s of a %s is %q", a.Name.Local, el.Name.Local, a.Value)
						}
					}
				}
			}
		}
	}
	return n
}

func elements(doc *html.Node, name string) []*html.Node {
	var out []*html.Node
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			out = append(out, n)
		}
	}
	return out
}

func TestWriteHTML(t *testing.T) {
	text, doc := render(t, readSample(t))
	// Ratio bars of 7 workloads, one plot of throughput, four of latency, two of memory.
	if n := len(elements(doc, "figure")); n != 7+1+4+2 {
		t.Errorf("%d figures", n)
	}
	checkSVGs(t, text)
	var ids []string
	for _, h := range elements(doc, "h2") {
		ids = append(ids, h.Attr[0].Val)
	}
	if want := []string{"goals", "ratios", "throughput", "latency", "memory", "figures", "environment", "profiles"}; !slices.Equal(ids, want) {
		t.Errorf("sections %q, want %q", ids, want)
	}
	for _, s := range []string{"0.31×", "not measured", `class="bar bad"`, `class="bar good"`, "240000 failed"} {
		if !strings.Contains(text, s) {
			t.Errorf("the page lacks %q", s)
		}
	}
}

// TestHTMLLoadsNothing checks that the file is all there is.
func TestHTMLLoadsNothing(t *testing.T) {
	text, doc := render(t, readSample(t))
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if slices.Contains([]string{"script", "link", "img", "iframe", "object", "embed", "image", "use"}, n.Data) {
			t.Errorf("the page has a %s", n.Data)
		}
		for _, a := range n.Attr {
			if a.Key == "src" || a.Key == "href" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("a %s has %s=%q", n.Data, a.Key, a.Val)
			}
		}
	}
	if strings.Contains(text, "url(") || strings.Contains(text, "@import") || strings.Contains(text, "ZgotmplZ") {
		t.Error("the style loads something, or the template refused a value")
	}
}

// TestHTMLEscapesNames gives every string of a report what would leave its
// place, in text, in an attribute, and in the middle of a plot.
func TestHTMLEscapesNames(t *testing.T) {
	for _, evil := range []string{`</svg><script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</style></title></pre><b>`, "a\x00b]]>&lt;", strings.Repeat("長い", 200)} {
		r := readSample(t)
		clean, _ := render(t, r)
		before := len(regexp.MustCompile(`<script|<img|<b>`).FindAllString(clean, -1))
		for i := range r.Cells {
			if strings.HasPrefix(r.Cells[i].Server, "peer") {
				r.Cells[i].Server = evil
			}
		}
		r.Cells[0].Workload, r.Cells[0].Unit = evil, evil
		r.Cells[1].Params[evil] = evil
		r.Notes = append(r.Notes, evil)
		r.Profiles = append(r.Profiles, Profile{evil, evil})
		r.Environment.Commit, r.Environment.Command = evil, []string{evil}
		r.Environment.Peers = map[string]string{evil: evil}
		text, doc := render(t, r)
		for _, n := range []string{"script", "img"} {
			if len(elements(doc, n)) > 0 {
				t.Errorf("%q made a %s", evil, n)
			}
		}
		if after := len(regexp.MustCompile(`<script|<img|<b>`).FindAllString(text, -1)); after != before {
			t.Errorf("%q: %d elements, before %d", evil, after, before)
		}
		checkSVGs(t, text)
	}
}

func TestRenderingsOfLittle(t *testing.T) {
	conns := func(n string) map[string]string { return map[string]string{ParamConns: n} }
	for name, r := range map[string]*Report{
		"empty":         {},
		"no runs":       {Cells: []Cell{{Workload: UDPEcho, Server: Handler}, {Workload: UDPEcho, Server: Kernel}, {Workload: Idle, Server: Handler}}},
		"one zero run":  {Cells: []Cell{{Workload: TCPRR, Server: Handler, Runs: []Run{{}}}, {Workload: TCPRR, Server: Kernel, Runs: []Run{{}}}}},
		"no kernel":     {Cells: []Cell{{Workload: TCPRR, Params: conns("1"), Server: Handler, Runs: rates(1)}, {Workload: TCPRR, Params: conns("8"), Server: Handler, Runs: rates(1)}}},
		"a dead run":    {Cells: []Cell{{Workload: TCPRR, Params: conns("2"), Server: Handler, Runs: rates(0, 5, 5)}, {Workload: TCPRR, Params: conns("8"), Server: Handler, Runs: rates(0, 5, 5)}, {Workload: TCPRR, Params: conns("8"), Server: Kernel, Runs: rates(0, 5, 5)}}},
		"odd numbers":   {Cells: []Cell{{Workload: TCPRR, Params: conns("-1"), Server: Handler, Runs: rates(1e300)}, {Workload: TCPRR, Params: conns("-1"), Server: Kernel, Runs: rates(1e-300)}, {Workload: TCPRR, Params: conns("x"), Server: Handler, Runs: rates(1)}}},
		"flat latency":  {Cells: []Cell{{Workload: LowLoad, Server: Handler, Runs: []Run{{P50: 1, Percentiles: []Point{{0, 1}, {50, 1}, {100, 1}}}}}}},
		"odd latency":   {Cells: []Cell{{Workload: LowLoad, Server: Handler, Runs: []Run{{Percentiles: []Point{{100, 9}, {100, 9}}}, {Percentiles: []Point{{-5, 0}, {99, 1}, {50, 2}}}}}}},
		"memory of one": {Cells: []Cell{{Workload: Idle, Server: Handler, Runs: []Run{{Memory: 1}}}, {Workload: Idle, Server: Conn, Runs: []Run{{}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			for format, write := range writers {
				var b bytes.Buffer
				if err := write(&b, r); err != nil {
					t.Fatalf("%s: %v", format, err)
				}
				if s := b.String(); strings.Contains(s, "NaN") || strings.Contains(s, "Inf") {
					t.Errorf("%s has a figure that is none:\n%s", format, s)
				}
				if format == "html" {
					checkSVGs(t, b.String())
				}
			}
		})
	}
}
