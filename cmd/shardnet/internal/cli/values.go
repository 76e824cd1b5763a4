package cli

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"shardnet/driver/fault"
)

// The flags below are lists: they may be repeated, and take several elements with
// commas between them. Their errors say how it is written right.

// prefixes is a flag of addresses with their prefix lengths.
type prefixes []netip.Prefix

func (p *prefixes) Type() string   { return "CIDR" }
func (p *prefixes) String() string { return join(*p) }

func (p *prefixes) Set(s string) error {
	for _, word := range strings.Split(s, ",") {
		a, err := netip.ParsePrefix(word)
		if err != nil {
			if ip, err := netip.ParseAddr(word); err == nil {
				if ip.Zone() != "" {
					return fmt.Errorf("%q has a zone: write it without", word)
				}
				return fmt.Errorf("%q has no prefix length: write it with its subnet's, as in %s/%d", word, word, map[bool]int{true: 24, false: 64}[ip.Unmap().Is4()])
			}
			return fmt.Errorf("%q is not an address with its prefix length: write it as in 198.18.0.2/24 or 2001:db8::2/64", word)
		}
		*p = append(*p, a)
	}
	return nil
}

// addrs is a flag of addresses.
type addrs []netip.Addr

func (a *addrs) Type() string   { return "IP" }
func (a *addrs) String() string { return join(*a) }

func (a *addrs) Set(s string) error {
	for _, word := range strings.Split(s, ",") {
		ip, err := netip.ParseAddr(word)
		if err != nil || ip.Zone() != "" {
			return fmt.Errorf("%q is not an address: write it as in 198.18.0.1 or 2001:db8::1", word)
		}
		*a = append(*a, ip)
	}
	return nil
}

// cpus is a flag of CPU numbers and ranges, as taskset takes them.
type cpus []int

func (c *cpus) Type() string   { return "LIST" }
func (c *cpus) String() string { return join(*c) }

// maxCPUs is the most CPUs that Linux can be built for, and so bounds a range.
const maxCPUs = 8192

func (c *cpus) Set(s string) error {
	for _, word := range strings.Split(s, ",") {
		from, to, isRange := strings.Cut(word, "-")
		first, err := strconv.ParseUint(from, 10, 16)
		last := first
		if err == nil && isRange {
			last, err = strconv.ParseUint(to, 10, 16)
		}
		if err != nil || last < first || last >= maxCPUs {
			return fmt.Errorf("%q is not a list of CPUs: write it as in 0,1 or 2-5", s)
		}
		for n := int(first); n <= int(last); n++ {
			if slices.Contains(*c, n) {
				return fmt.Errorf("CPU %d is listed twice: each shard has one of its own", n)
			}
			*c = append(*c, n)
		}
	}
	return nil
}

// size is a flag of bytes, with a suffix k or m as memcached's -I has it.
type size int

func (z *size) Type() string   { return "SIZE" }
func (z *size) String() string { return strconv.Itoa(int(*z)) }

func (z *size) Set(s string) error {
	digits, unit := s, uint64(1)
	switch {
	case strings.HasSuffix(s, "k"), strings.HasSuffix(s, "K"):
		digits, unit = s[:len(s)-1], 1<<10
	case strings.HasSuffix(s, "m"), strings.HasSuffix(s, "M"):
		digits, unit = s[:len(s)-1], 1<<20
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 0 || n*unit > math.MaxInt32 {
		return fmt.Errorf("%q is not a size in bytes: write it as in 65536, 512k or 1m", s)
	}
	*z = size(n * unit)
	return nil
}

// choice is a flag that is one of a few words.
type choice struct {
	value string
	words []string
}

func (c *choice) Type() string   { return strings.Join(c.words, "|") }
func (c *choice) String() string { return c.value }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		return fmt.Errorf("%q is none of %s", s, strings.Join(c.words, ", "))
	}
	c.value = s
	return nil
}

// faults is a flag of what befalls frames, as fault.Parse reads it.
type faults struct {
	cfg *fault.Config // nil if it was not given
}

func (f *faults) Type() string { return "SPEC" }

func (f *faults) String() string {
	if f.cfg == nil {
		return ""
	}
	return f.cfg.String()
}

func (f *faults) Set(s string) error {
	if f.cfg != nil {
		return errors.New("give it once, with commas between the faults")
	}
	if strings.TrimSpace(s) == "" {
		return fmt.Errorf("%q names no fault: write it as in %s", s, exampleFaults)
	}
	cfg, err := fault.Parse(s)
	if err != nil {
		return fmt.Errorf("%w: write it as in %s", err, exampleFaults)
	}
	f.cfg = &cfg
	return nil
}

const exampleFaults = "drop=1%,reorder=2%,seed=7"

func join[T any](list []T) string {
	var words []string
	for _, v := range list {
		words = append(words, fmt.Sprint(v))
	}
	return strings.Join(words, ",")
}
