package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// none stands where nothing was measured. A zero that was measured is a "0".
const none = "–"

// significant writes v with three significant digits, and never in powers of ten.
func significant(v float64) string {
	switch a := math.Abs(v); {
	case v == 0:
		return "0"
	case a >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// scaled writes v with a decimal prefix: 657 k.
func scaled(v float64) string {
	for _, p := range []struct {
		factor float64
		name   string
	}{{1e9, " G"}, {1e6, " M"}, {1e3, " k"}} {
		// What would round to 1000 of a prefix takes the next.
		if math.Abs(v) >= p.factor*0.9995 {
			return significant(v/p.factor) + p.name
		}
	}
	return significant(v)
}

// rateText writes a rate in its unit. Bytes are written as bits, the unit of links.
func rateText(v float64, unit string) string {
	if v == 0 {
		return "0"
	}
	v, suffix := inUnit(v, unit)
	s := scaled(v)
	if !strings.Contains(s, " ") {
		s += " "
	}
	return s + suffix
}

// inUnit returns the rate as it is shown, and its unit without a prefix.
func inUnit(v float64, unit string) (float64, string) {
	switch unit {
	case "bytes/s":
		return 8 * v, "bit/s"
	case "requests/s", "connections/s", "":
		return v, "/s"
	}
	return v, unit
}

func micros(v float64) string {
	switch {
	case v <= 0:
		return none
	case v >= 999.5e3:
		return significant(v/1e6) + " s"
	case v >= 999.5:
		return significant(v/1e3) + " ms"
	}
	return significant(v) + " µs"
}

func bytesText(v float64) string {
	switch {
	case v <= 0:
		return none
	case v >= 1<<30:
		return significant(v/(1<<30)) + " GiB"
	case v >= 1<<20:
		return significant(v/(1<<20)) + " MiB"
	case v >= 1<<10:
		return significant(v/(1<<10)) + " KiB"
	}
	return significant(v) + " B"
}

func ratioText(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + "×" }

// digits writes a whole number in groups of three.
func digits(v float64) string {
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

// bound writes a goal, and value what was measured for it.
func (t Target) bound() string {
	sign := "≥ "
	if t.AtMost {
		sign = "≤ "
	}
	if t.Metric == Allocations && t.Bound == noAllocs {
		return "0 " + string(t.Metric)
	}
	if t.Metric == Allocations {
		return sign + significantTick(t.Bound) + " " + string(t.Metric)
	}
	return sign + t.text(t.Bound)
}

func (t Target) text(v float64) string {
	switch t.Metric {
	case RatioToKernel, RatioToOneShard, RatioToMemcached:
		return strconv.FormatFloat(v, 'f', 2, 64) + string(t.Metric)
	case RatioToReflector:
		return strconv.FormatFloat(100*v, 'f', 0, 64) + " % " + string(t.Metric)
	case AnsweredIdle:
		return digits(v) + " " + string(t.Metric)
	case IdleMemory:
		return digits(v) + " " + string(t.Metric)
	case IdleCPU:
		return strconv.FormatFloat(v, 'f', 2, 64) + " " + string(t.Metric)
	case Allocations:
		return strconv.FormatFloat(v, 'f', 3, 64) + " " + string(t.Metric)
	}
	return significant(v) + " " + string(t.Metric)
}

func (v Verdict) measured() string {
	if v.State == NotMeasured {
		return none
	}
	s := v.text(v.Value)
	if v.State == Missed && v.Reason == "" && s == v.text(v.Bound) {
		// Rounded, it would look reached.
		s = strconv.FormatFloat(v.Value, 'g', 5, 64) + strings.TrimLeft(s, "0123456789. ")
		if v.Metric == RatioToReflector {
			s = strconv.FormatFloat(100*v.Value, 'f', 2, 64) + " % " + string(v.Metric)
		}
	}
	if v.Metric == RatioToKernel && v.Cell.ByLatency() {
		s += " (p50)"
	}
	if v.Reason != "" {
		s += ", " + v.Reason
	}
	return s
}

func (v Verdict) params() string {
	if v.State == NotMeasured {
		return paramsText(v.Params)
	}
	return paramsText(v.Cell.Params)
}

// paramsText writes parameters for a person, those that most plots vary first.
func paramsText(params map[string]string) string {
	var out []string
	take := func(key, format string) {
		if v := params[key]; v != "" {
			out = append(out, fmt.Sprintf(format, v))
		}
	}
	if params[ParamConns] == "1" {
		out = append(out, "1 connection")
	} else {
		take(ParamConns, "%s connections")
	}
	if params[ParamShards] == "1" {
		out = append(out, "1 shard")
	} else {
		take(ParamShards, "%s shards")
	}
	take(ParamSize, "%s B")
	take(ParamRate, "%s/s asked")
	take(ParamMTU, "MTU %s")
	for _, k := range slices.Sorted(maps.Keys(params)) {
		switch k {
		case ParamConns, ParamShards, ParamSize, ParamRate, ParamMTU:
		default:
			out = append(out, k+" "+params[k])
		}
	}
	return strings.Join(out, ", ")
}
