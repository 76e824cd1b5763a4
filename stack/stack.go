package stack

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"shardnet/driver"
	"shardnet/driver/rss"
	"shardnet/driver/wire"
	"shardnet/stack/flow"
	"shardnet/stack/internal/loop"
	"shardnet/stack/internal/netstack"
	"shardnet/stack/internal/steer"
)

// Stack is a TCP/IP stack over one device: a shard for each of its queues, with the same
// addresses and routes. Its methods may be called from any goroutine.
type Stack struct {
	// Set by New, and not changed.
	cfg      *Config
	dev      driver.Device
	info     driver.Info
	mac      [6]byte
	log      *slog.Logger
	own      steer.Addresses
	steering *steer.Table
	shards   []*Shard

	closing   chan struct{} // closed when Close begins
	closed    chan struct{} // closed when Close has ended
	closeOnce sync.Once
	dialing   sync.RWMutex // read-locked while a dial begins; Close waits for it

	mu sync.Mutex // guards what follows
	stackGuarded
}

// stackGuarded is guarded by Stack.mu.
type stackGuarded struct {
	err     error                    // why the stack failed
	sockets map[loop.Closer]struct{} // listeners and UDP sockets, closed first
}

// New starts a stack on dev: from here on its shards run. The stack owns dev and closes it
// in Close, and when New fails.
func New(dev driver.Device, cfg *Config) (*Stack, error) {
	st, err := newStack(dev, cfg)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	for _, sh := range st.shards {
		go sh.run()
	}
	return st, nil
}

func newStack(dev driver.Device, cfg *Config) (*Stack, error) {
	info := dev.Info()
	c, err := cfg.withDefaults(info)
	if err != nil {
		return nil, err
	}
	if len(info.MAC) != 6 {
		return nil, fmt.Errorf("device %s has MAC address %v, not one of 6 bytes", info.Interface, info.MAC)
	}
	if info.FrameSize < info.MTU+wire.EthernetLen {
		return nil, fmt.Errorf("device %s has frames of %d bytes, too short for MTU %d", info.Interface, info.FrameSize, info.MTU)
	}
	netstack.RedirectLog(c.Logger)
	st := &Stack{
		cfg: c, dev: dev, info: info, mac: [6]byte(info.MAC), log: c.Logger,
		own:     steer.NewAddresses(c.Addresses),
		closing: make(chan struct{}), closed: make(chan struct{}),
	}
	st.sockets = make(map[loop.Closer]struct{})
	var rssQueue func(src, dst netip.AddrPort) int
	if info.RSS != nil && c.Shards > 1 {
		r, err := rss.New(info.RSS.Key, info.RSS.Table)
		if err != nil {
			return nil, fmt.Errorf("read the RSS of %s: %w", info.Interface, err)
		}
		rssQueue = r.QueueOfFlow
	}
	if st.steering, err = steer.New(c.Shards, c.PortRange[0], c.PortRange[1], rssQueue); err != nil {
		return nil, err
	}
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	for i := range c.Shards {
		sh, err := newShard(st, i, secret)
		if err != nil {
			for _, sh := range st.shards {
				sh.destroy()
			}
			return nil, fmt.Errorf("start shard %d: %w", i, err)
		}
		st.shards = append(st.shards, sh)
	}
	return st, nil
}

// Shards is the number of shards.
func (st *Stack) Shards() int { return len(st.shards) }

// Shard returns shard i.
func (st *Stack) Shard(i int) *Shard { return st.shards[i] }

// Info describes the device.
func (st *Stack) Info() driver.Info { return st.info }

// Addresses are the stack's own addresses.
func (st *Stack) Addresses() []netip.Prefix { return slices.Clone(st.cfg.Addresses) }

// Transport is the TCP of sockets that don't ask for one.
func (st *Stack) Transport() flow.Transport { return st.cfg.Transport }

// NetstackInline reports whether netstack's TCP runs on the loops. If netstack is not laid
// out as expected, it runs on goroutines of its own, and the log says so.
func (st *Stack) NetstackInline() bool { return st.shards[0].netstack.Inline() }

// Steering says in a few words how packets find their shard, for a start-up line.
func (st *Stack) Steering() string {
	switch {
	case len(st.shards) == 1:
		return "one shard"
	case st.info.RSS != nil:
		return "NIC RSS (Toeplitz)"
	}
	return "arrival queue, hand-over by port"
}

// Stats is the sum over the shards.
func (st *Stack) Stats() Stats {
	var s Stats
	for _, sh := range st.shards {
		s.Add(sh.Stats())
	}
	return s
}

// Done is closed when the stack begins to close, by Close or because its device failed.
func (st *Stack) Done() <-chan struct{} { return st.closing }

// Err is why the stack failed, or nil.
func (st *Stack) Err() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.err
}

// fail records the first fatal error of a shard and begins to close the stack. It does not
// wait.
func (st *Stack) fail(err error) {
	select {
	case <-st.closing:
		return // a queue closed by Close is no failure
	default:
	}
	st.mu.Lock()
	first := st.err == nil
	if first {
		st.err = err
	}
	st.mu.Unlock()
	if first {
		st.log.Error("stack failed and closes", "error", err)
		go st.Close()
	}
}

// register adds s to what Close closes. It returns false when the stack is closing.
func (st *Stack) register(s loop.Closer) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	select {
	case <-st.closing:
		return false
	default:
	}
	st.sockets[s] = struct{}{}
	return true
}

func (st *Stack) unregister(s loop.Closer) {
	st.mu.Lock()
	delete(st.sockets, s)
	st.mu.Unlock()
}
