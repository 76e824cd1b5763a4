//go:build linux

package wire

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// script is one conversation: see the package's documentation.
type script struct {
	name    string
	rfc     string // and section that asks for it
	v6      bool
	soak    bool // it takes long: only with SHARDNET_SOAK
	text    string
	differs []difference
}

// difference is what a target does otherwise than the script says for the others.
type difference struct {
	target string
	does   string // what it does
	word   string // what the RFCs say of that
}

// step is a line of a script.
type step struct {
	line string
	on   []string // targets; none means all
	do   func(*conversation) error
}

// on is the steps for a target as another would have it: with its own lines, or
// without, as for one that has no difference.
func (s *script) steps(target string, own bool) ([]step, error) {
	all, err := parse(s.text)
	if err != nil {
		return nil, err
	}
	who := target
	if !own || !s.differsOn(target) {
		who = "else"
	}
	return slices.DeleteFunc(all, func(st step) bool { return st.on != nil && !slices.Contains(st.on, who) }), nil
}

func (s *script) differsOn(target string) bool {
	return slices.ContainsFunc(s.differs, func(d difference) bool { return d.target == target })
}

var forTargets = regexp.MustCompile(`^([a-z]+(?:,[a-z]+)*):\s+(.*)$`)

func parse(text string) (steps []step, err error) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		st := step{line: strings.Join(strings.Fields(line), " ")}
		if st.line == "" {
			continue
		}
		body := st.line
		if m := forTargets.FindStringSubmatch(body); m != nil {
			st.on, body = strings.Split(m[1], ","), m[2]
			for _, on := range st.on {
				if on != "else" && !slices.Contains(targets, on) {
					return nil, fmt.Errorf("%q: no target %q", st.line, on)
				}
			}
		}
		if st.do, err = parseStep(strings.Fields(body)); err != nil {
			return nil, fmt.Errorf("%q: %w", st.line, err)
		}
		steps = append(steps, st)
	}
	return steps, nil
}

func parseStep(f []string) (func(*conversation) error, error) {
	switch f[0] {
	case "<":
		s, err := parseSpec(f[1:], true)
		return func(c *conversation) error { return c.send(s) }, err
	case ">":
		var want []*spec
		for i := 1; ; {
			n := slices.Index(f[i:], "or")
			if n < 0 {
				n = len(f) - i
			}
			s, err := parseSpec(f[i:i+n], false)
			if err != nil {
				return nil, err
			}
			want = append(want, s)
			if i += n + 1; i >= len(f) {
				break
			}
		}
		return func(c *conversation) error { return c.expect(want) }, nil
	case "icmp":
		return parseICMP(f[1:])
	}
	if d, ok := strings.CutPrefix(f[0], "+"); ok {
		pause, err := time.ParseDuration(d)
		return func(c *conversation) error { return c.pause(pause) }, err
	}
	call, ok := calls[f[0]]
	if !ok {
		return nil, fmt.Errorf("nothing is called %q", f[0])
	}
	args := f[1:]
	if len(args) < call.least || len(args) > call.most {
		return nil, fmt.Errorf("%s takes %d to %d arguments", f[0], call.least, call.most)
	}
	return func(c *conversation) error { return call.do(c, args) }, nil
}

// spec is a segment as it is written down: to be sent, or expected.
type spec struct {
	flags uint8
	seq   int
	any   bool // or any sequence number
	len   int
	times int
	has   map[string]bool // fields that are given
	options
	ack, win int
	above    bool // win >N
	urg      int
	doff     int
	raw      []byte
	after    time.Duration
	within   time.Duration
}

var seqLen = regexp.MustCompile(`^(-?[0-9]+|\*)\(([0-9]+)\)$`)

// fields that take no argument, and whether they are for sending or expecting; both are
// in bothWays.
var (
	sendFlags   = []string{"nots", "junk", "badsum", "frags", "sgarf", "ipopt", "badip", "broadcast"}
	expectFlags = []string{"nots", "nosack", "nows", "nomss"}
	sendOnly    = []string{"opt", "doff", "urg"}
	expectOnly  = []string{"after", "within"}
)

func parseSpec(f []string, sending bool) (*spec, error) {
	if len(f) < 2 {
		return nil, fmt.Errorf("a segment has flags and SEQ(LEN)")
	}
	s := &spec{times: 1, has: make(map[string]bool), options: options{mss: -1, scale: -1}, win: 65535}
	for _, r := range f[0] {
		i := strings.IndexRune(flagNames, r)
		if i < 0 {
			return nil, fmt.Errorf("no flag %c", r)
		}
		s.flags |= 1 << i
	}
	m := seqLen.FindStringSubmatch(f[1])
	if m == nil {
		return nil, fmt.Errorf("%q is not SEQ(LEN)", f[1])
	}
	if s.any = m[1] == "*"; s.any && sending {
		return nil, fmt.Errorf("a segment to send has a number")
	}
	s.seq, _ = strconv.Atoi(m[1])
	s.len, _ = strconv.Atoi(m[2])
	for i := 2; i < len(f); i++ {
		name := f[i]
		s.has[name] = true
		if n, ok := strings.CutPrefix(name, "x"); ok {
			var err error
			if s.times, err = strconv.Atoi(n); err != nil {
				return nil, err
			}
			continue
		}
		if flags := map[bool][]string{true: sendFlags, false: expectFlags}[sending]; slices.Contains(flags, name) {
			continue
		}
		if not := map[bool][]string{true: expectOnly, false: sendOnly}[sending]; slices.Contains(not, name) {
			return nil, fmt.Errorf("%s is not for this direction", name)
		}
		if name == "sackok" {
			s.sackOK = true
			continue
		}
		if i++; i == len(f) {
			return nil, fmt.Errorf("%s takes a value", name)
		}
		if err := s.set(name, f[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// set sets the field of that name.
func (s *spec) set(name, value string) (err error) {
	number := func(p *int) { *p, err = strconv.Atoi(value) }
	var n int
	switch name {
	case "ack":
		number(&s.ack)
	case "win":
		value, s.above = strings.CutPrefix(value, ">")
		number(&s.win)
	case "urg":
		number(&s.urg)
	case "doff":
		number(&s.doff)
	case "mss":
		var more bool
		value, more = strings.CutSuffix(value, "+")
		s.has["+"] = more
		number(&s.mss)
	case "ws":
		number(&s.scale)
	case "ts":
		number(&n)
		s.stamp, s.val = true, uint32(n)
	case "ecr":
		if s.has["remembered"] = value == "remembered"; s.has["remembered"] {
			return nil
		}
		number(&n)
		s.ecr = uint32(n)
	case "opt":
		s.raw, err = hex.DecodeString(value)
	case "after":
		s.after, err = time.ParseDuration(value)
	case "within":
		s.within, err = time.ParseDuration(value)
	case "sack":
		for b := range strings.SplitSeq(value, ",") {
			var lo, hi int32
			if _, err := fmt.Sscanf(b, "%d-%d", &lo, &hi); err != nil {
				return fmt.Errorf("sack %s: %w", b, err)
			}
			s.sack = append(s.sack, [2]uint32{uint32(lo), uint32(hi)})
		}
	default:
		return fmt.Errorf("no field %q", name)
	}
	return err
}

func parseICMP(f []string) (func(*conversation) error, error) {
	if len(f) < 2 {
		return nil, fmt.Errorf("icmp takes a kind and a sequence number")
	}
	if _, ok := icmpKinds[f[0]]; !ok {
		return nil, fmt.Errorf("no kind %q", f[0])
	}
	e := icmpStep{kind: f[0]}
	f = f[1:]
	var err error
	if f[0] == "mtu" && len(f) > 2 {
		if e.mtu, err = strconv.Atoi(f[1]); err != nil {
			return nil, err
		}
		f = f[2:]
	}
	if e.seq, err = strconv.Atoi(f[0]); err != nil {
		return nil, err
	}
	if e.stranger = len(f) == 2 && f[1] == "stranger"; len(f) > 1 && !e.stranger {
		return nil, fmt.Errorf("%q is too much", f[1])
	}
	return func(c *conversation) error { return c.icmp(e) }, nil
}
