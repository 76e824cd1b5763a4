package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	"shardnet/cmd/shardnet/internal/load"
	"shardnet/driver"
	"shardnet/driver/fault"
	"shardnet/driver/pcap"
	"shardnet/socketapi"
	"shardnet/stack"
	"shardnet/stack/flow"
)

// network is what an app is served on. Its methods but done are called in the
// order they are in.
type network interface {
	// listen opens the TCP listeners, one or more on each shard.
	listen() ([]net.Listener, error)
	// listenPacket opens the UDP sockets likewise.
	listenPacket() ([]net.PacketConn, error)
	// describe fills in what is in force.
	describe(*Start)
	// done is closed when the network ends, by close or because it failed.
	done() <-chan struct{}
	// close ends it, and returns why it failed.
	close() error
	// shards are the counters at the end.
	shards() []ShardCounters
}

// openNetwork opens what cfg, which is valid, asks for.
func openNetwork(cfg *Config) (network, error) {
	if cfg.Driver == "kernel" {
		return newKernelNetwork(cfg), nil
	}
	if cfg.Capture == "" {
		return openStack(cfg, nil)
	}
	f, err := os.Create(cfg.Capture)
	if err != nil {
		return nil, fmt.Errorf("create the capture file: %w", err)
	}
	n, err := openStack(cfg, f)
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(cfg.Capture))
	}
	return n, nil
}

// stackNetwork is a stack on a NIC, or on one end of a cable.
type stackNetwork struct {
	st     *stack.Stack
	peer   *stack.Stack  // on the cable's other end; nil on a NIC
	addr   string        // to listen on: all of the stack's
	faults *fault.Device // nil without
}

// openStack starts a stack on the device of cfg, recorded to capture unless nil.
// When it fails, the file of capture is still the caller's to remove.
func openStack(cfg *Config, capture io.WriteCloser) (_ network, err error) {
	var dev, far driver.Device
	if cfg.onNIC() {
		dev, err = openNIC(cfg)
	} else {
		dev, far, err = openCable(cfg)
	}
	if err != nil {
		return nil, err
	}
	n := &stackNetwork{addr: ":" + strconv.Itoa(cfg.Port)}
	if dev, n.faults, err = wrapFaults(dev, cfg); err != nil {
		return nil, closeFar(err, far)
	}
	// The capture has what the stack receives and sends, as one taken on a host has:
	// what gets lost is lost on the wire.
	if capture != nil {
		recorded, err := pcap.Wrap(dev, capture, &pcap.Options{CloseWriter: true, Logger: cfg.Logger})
		if err != nil {
			return nil, closeFar(errors.Join(err, dev.Close()), far)
		}
		dev = recorded
	}
	conf := &stack.Config{
		Addresses: cfg.Addresses,
		Shards:    cfg.Shards,
		CPUs:      cfg.CPUs,
		Spin:      cfg.Spin,
		Transport: cfg.transport(),
		TCPMemory: cfg.TCPMemory,
		Logger:    cfg.Logger,
	}
	for _, g := range cfg.Gateways {
		conf.Routes = append(conf.Routes, stack.DefaultRoute(g))
	}
	if n.st, err = stack.New(dev, conf); err != nil {
		return nil, closeFar(err, far)
	}
	if far != nil {
		if n.peer, err = newPeer(far, cfg); err != nil {
			return nil, errors.Join(err, n.st.Close())
		}
	}
	return n, nil
}

// closeFar closes the cable's other end, if there is one, and adds what that says
// to err.
func closeFar(err error, far driver.Device) error {
	if far == nil {
		return err
	}
	return errors.Join(err, far.Close())
}

func (n *stackNetwork) listen() ([]net.Listener, error) {
	g, err := socketapi.Listen(n.st, "tcp", n.addr)
	if err != nil {
		return nil, err
	}
	var ls []net.Listener
	for i := range g.Len() {
		ls = append(ls, g.Listener(i))
	}
	return ls, nil
}

func (n *stackNetwork) listenPacket() ([]net.PacketConn, error) {
	g, err := socketapi.ListenPacket(n.st, "udp", n.addr)
	if err != nil {
		return nil, err
	}
	var pcs []net.PacketConn
	for i := range g.Len() {
		pcs = append(pcs, g.PacketConn(i))
	}
	return pcs, nil
}

func (n *stackNetwork) describe(s *Start) {
	info := n.st.Info()
	s.Driver, s.Mode, s.Interface, s.MTU = info.Driver, info.Mode, info.Interface, info.MTU
	s.MAC = info.MAC.String()
	s.Queues, s.Shards = info.Queues, n.st.Shards()
	s.Steering, s.TCP = n.st.Steering(), n.st.Transport().String()
	if n.st.Transport() == flow.TransportNetstack {
		s.NetstackTCP = "inline"
		if !n.st.NetstackInline() {
			s.NetstackTCP = "stock"
		}
	}
}

func (n *stackNetwork) done() <-chan struct{} { return n.st.Done() }

func (n *stackNetwork) close() error {
	if n.peer != nil {
		_ = n.peer.Close() // a client's, on a cable that goes away with it
	}
	err := n.st.Close()
	if failed := n.st.Err(); failed != nil {
		return failed // a stack that fails closes itself, and then Close has nothing to say
	}
	return err
}

func (n *stackNetwork) shards() []ShardCounters {
	var all []ShardCounters
	for i := range n.st.Shards() {
		c := shardCounters(n.st.Shard(i).Stats())
		if n.faults != nil {
			rx, tx := n.faults.Counts(i)
			c.RxFaults, c.TxFaults = faultCounters(rx), faultCounters(tx)
		}
		all = append(all, c)
	}
	return all
}

// dialPeer dials from the cable's other end.
func (n *stackNetwork) dialPeer() load.Dial {
	d := &socketapi.Dialer{Stack: n.peer}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return d.DialContext(ctx, network, address)
	}
}
