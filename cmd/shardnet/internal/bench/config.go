package bench

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"time"
)

// Validate says what is wrong with the configuration, and how to put it right.
func (c *Config) Validate() error {
	for _, p := range slices.Concat(c.Run, c.Servers) {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("%q is not a pattern: write it with * and ?, as in 'tcp-*'", p)
		}
	}
	if c.Repeat < 1 || c.Repeat > 1000 {
		return fmt.Errorf("%d repetitions can't be: give --repeat 1 to 1000", c.Repeat)
	}
	if c.Duration < 10*time.Millisecond || c.Duration > time.Hour {
		return fmt.Errorf("duration %v is too short or too long: give --duration 10ms to 1h", c.Duration)
	}
	if c.Warmup < 0 || c.Warmup > time.Hour {
		return fmt.Errorf("warm-up of %v can't be: give --warmup 0 to 1h", c.Warmup)
	}
	for _, n := range slices.Concat(c.Connections, c.Idle) {
		if n < 1 || n > 1<<21 {
			return fmt.Errorf("%d connections can't be: give 1 to %d", n, 1<<21)
		}
	}
	for _, n := range c.Sizes {
		if n < minSize || n > maxSize {
			return fmt.Errorf("requests of %d bytes can't be: give --sizes %d to %d, which is one packet", n, minSize, maxSize)
		}
	}
	for _, n := range c.MTUs {
		if n < 576 || n > maxMTU {
			return fmt.Errorf("MTU %d can't be: give --mtu 576 to %d, which is what AF_XDP sockets allow", n, maxMTU)
		}
	}
	kinds := slices.Clone(kinds)
	for _, p := range c.Peers {
		if slices.Contains(kinds, p.Name) {
			return fmt.Errorf("a peer can't be named %s: there is one", p.Name)
		}
		kinds = append(kinds, p.Name)
		if !slices.Contains([]string{"echo", "memcached", "source", "sink"}, p.App) {
			return fmt.Errorf("no workload asks for %q: a peer serves echo, memcached, source or sink", p.App)
		}
	}
	for _, p := range c.Servers {
		if !slices.ContainsFunc(kinds, func(k string) bool { return matchesAny([]string{p}, k) }) {
			return fmt.Errorf("there is no server %q: give some of %v", p, kinds)
		}
	}
	if c.Memory {
		return nil
	}
	cpus, err := allowedCPUs()
	if err != nil {
		return err
	}
	if c.ServerCPU == c.GeneratorCPU {
		return errors.New("server and generator need a CPU each: give --server-cpu and --generator-cpu two")
	}
	for _, n := range []int{c.ServerCPU, c.GeneratorCPU} {
		if !slices.Contains(cpus, n) {
			return fmt.Errorf("CPU %d is not there to be used, only %v: give --server-cpu and --generator-cpu two of them", n, cpus)
		}
	}
	return nil
}

const (
	minSize = 8     // what an echo request over UDP is told apart by
	maxSize = 1400  // one packet, over IPv6 too
	maxMTU  = 11502 // see afxdp
)
