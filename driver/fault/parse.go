package fault

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// keys are what Parse knows, in the order String writes them.
const keys = "drop, corrupt, dup, reorder, distance, hold, delay, rate, queue, limit, dir, seed"

// Parse reads a configuration such as
//
//	drop=1%,dup=0.1%,corrupt=1e-4,reorder=2%,delay=5ms,rate=10mbit,queue=64,dir=rx,seed=7
//
// Probabilities (drop, corrupt, dup, reorder) are numbers from 0 to 1 or
// percentages; delay and hold are durations as time.ParseDuration has them; rate
// is a number with bit, kbit, mbit or gbit, a second; queue, limit and distance
// are numbers of frames; dir is rx, tx or both. The empty string is no faults.
func Parse(s string) (Config, error) {
	var c Config
	seen := make(map[string]bool)
	if strings.TrimSpace(s) == "" {
		return c, nil
	}
	for _, part := range strings.Split(s, ",") {
		part = strings.TrimSpace(part)
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return Config{}, fmt.Errorf("parse faults: %q is not key=value", part)
		}
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		if seen[key] {
			return Config{}, fmt.Errorf("parse faults: %s is given twice", key)
		}
		seen[key] = true
		if err := c.set(key, value); err != nil {
			return Config{}, fmt.Errorf("parse faults: %w", err)
		}
	}
	if err := c.validate(); err != nil {
		return Config{}, fmt.Errorf("parse faults: %w", err)
	}
	return c, nil
}

// set gives one field its value.
func (c *Config) set(key, value string) (err error) {
	var reason string
	switch key {
	case "drop":
		c.Drop, err = parseProbability(value)
	case "corrupt":
		c.Corrupt, err = parseProbability(value)
	case "dup":
		c.Duplicate, err = parseProbability(value)
	case "reorder":
		c.Reorder, err = parseProbability(value)
	case "delay":
		c.Delay, err = time.ParseDuration(value)
		reason = "not a duration such as 5ms"
	case "hold":
		c.Hold, err = time.ParseDuration(value)
		reason = "not a duration such as 10ms"
	case "rate":
		c.Rate, err = parseRate(value)
	case "queue":
		c.Queue, err = strconv.Atoi(value)
		reason = "not a number of frames"
	case "limit":
		c.Limit, err = strconv.Atoi(value)
		reason = "not a number of frames"
	case "distance":
		c.Distance, err = strconv.Atoi(value)
		reason = "not a number of frames"
	case "seed":
		c.Seed, err = strconv.ParseUint(value, 10, 64)
		reason = "not a number from 0 to 18446744073709551615"
	case "dir":
		switch strings.ToLower(value) {
		case "rx":
			c.Dir = RX
		case "tx":
			c.Dir = TX
		case "both":
			c.Dir = Both
		default:
			return fmt.Errorf("dir=%s: not rx, tx or both", value)
		}
	default:
		return fmt.Errorf("unknown fault %q (known: %s)", key, keys)
	}
	if err != nil && reason != "" {
		return fmt.Errorf("%s=%s: %s", key, value, reason)
	}
	if err != nil {
		return fmt.Errorf("%s=%s: %w", key, value, err)
	}
	return nil
}

func parseProbability(s string) (float64, error) {
	number, percent := strings.CutSuffix(s, "%")
	p, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		p /= 100
	}
	if err != nil || math.IsNaN(p) || p < 0 || p > 1 {
		return 0, fmt.Errorf("not a probability from 0 to 1 (or 0%% to 100%%)")
	}
	return p, nil
}

var rateUnits = []struct {
	suffix string
	bits   float64
}{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

func parseRate(s string) (int64, error) {
	for _, u := range rateUnits {
		number, ok := strings.CutSuffix(strings.ToLower(s), u.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		bits := math.Round(v * u.bits)
		if err != nil || !(bits >= 1 && bits < math.MaxInt64) {
			break
		}
		return int64(bits), nil
	}
	return 0, fmt.Errorf("not a rate such as 10mbit (bit, kbit, mbit, gbit a second)")
}

// String returns the configuration as Parse takes it; the clock is left out.
func (c Config) String() string {
	var parts []string
	add := func(key string, value any) { parts = append(parts, fmt.Sprintf("%s=%v", key, value)) }
	if c.Drop != 0 {
		add("drop", c.Drop)
	}
	if c.Corrupt != 0 {
		add("corrupt", c.Corrupt)
	}
	if c.Duplicate != 0 {
		add("dup", c.Duplicate)
	}
	if c.Reorder != 0 {
		add("reorder", c.Reorder)
	}
	if c.Distance != 0 {
		add("distance", c.Distance)
	}
	if c.Hold != 0 {
		add("hold", c.Hold)
	}
	if c.Delay != 0 {
		add("delay", c.Delay)
	}
	if c.Rate != 0 {
		unit := rateUnits[len(rateUnits)-1]
		for _, u := range rateUnits {
			if c.Rate%int64(u.bits) == 0 {
				unit = u
				break
			}
		}
		add("rate", strconv.FormatInt(c.Rate/int64(unit.bits), 10)+unit.suffix)
	}
	if c.Queue != 0 {
		add("queue", c.Queue)
	}
	if c.Limit != 0 {
		add("limit", c.Limit)
	}
	if c.Dir != 0 {
		add("dir", c.Dir)
	}
	if c.Seed != 0 {
		add("seed", c.Seed)
	}
	return strings.Join(parts, ",")
}
