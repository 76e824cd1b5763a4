package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"shardnet/cmd/shardnet/internal/rawload"
	"shardnet/driver/netlab"
)

// What the kernel does in large pieces shows only where both ends do it: no XDP
// program takes a frame longer than the MTU, so veth has no TSO where the generator
// or a server of ours receives, and nothing to join where the generator sends, one
// packet at a time. So for KernelOffload the client's end goes back to the kernel,
// and kernel sockets there, on the generator's CPU, do what the generator does.

// handOver gives the client's end to the kernel with the offloads on at both ends,
// or to the generator with them off.
func (l *lab) handOver(kernel bool) error {
	if kernel == (l.dev == nil) {
		return nil
	}
	if !kernel {
		if err := l.offload(false); err != nil {
			return err
		}
		return l.openGenerator()
	}
	err := l.dev.Close()
	l.dev = nil
	if err == nil {
		err = receiveOn(l.far, l.cfg.GeneratorCPU)
	}
	if err == nil {
		err = l.offload(true)
	}
	return err
}

// offload turns what is done in large pieces on or off, at both ends. An XDP program
// fixes some of that, so there must be none.
func (l *lab) offload(on bool) error {
	for _, end := range []*netlab.Interface{l.end, l.far} {
		for _, o := range []netlab.Offload{netlab.TSO, netlab.GSO, netlab.GRO} {
			if err := end.SetOffload(o, on); err != nil {
				return fmt.Errorf("set offloads of %s: %w", end.Name, err)
			}
		}
	}
	return nil
}

// stream implements place.
func (l *lab) stream(ctx context.Context, target netip.AddrPort, work rawload.Work) (*rawload.Result, error) {
	c := &bulkClient{send: work.Kind == rawload.BulkSend, failed: make(chan error, 1)}
	defer c.close()
	for range work.Conns {
		conn, err := l.client.Dial(ctx, "tcp", target.String())
		if err != nil {
			return nil, fmt.Errorf("connect to %v: %w", target, err)
		}
		c.add(conn.(*net.TCPConn))
	}
	from := time.Now().Add(work.Warmup)
	to := from.Add(work.Duration)
	if work.Planned != nil {
		work.Planned(from, to)
	}
	before, err := c.progressAt(ctx, from)
	if err != nil {
		return nil, err
	}
	after, err := c.progressAt(ctx, to)
	if err != nil {
		return nil, err
	}
	r := &rawload.Result{
		Elapsed: after.at.Sub(before.at), Bytes: after.bytes - before.bytes,
		Connected: work.Conns, Retransmits: after.retransmits,
	}
	if what := c.wrong.Load(); what != nil {
		r.Wrong, r.FirstWrong = 1, *what
	}
	return r, nil
}

// bulkClient is bulk transfer by the kernel's sockets.
type bulkClient struct {
	send     bool
	conns    []*net.TCPConn
	received atomic.Uint64
	wrong    atomic.Pointer[string] // the first piece that was
	failed   chan error             // has room for the first failure
	closing  atomic.Bool
	wg       sync.WaitGroup
}

// progress is how far a bulkClient has got.
type progress struct {
	at                 time.Time
	bytes, retransmits uint64
}

// add gives conn to the client, which begins to use it.
func (c *bulkClient) add(conn *net.TCPConn) {
	c.conns = append(c.conns, conn)
	c.wg.Go(func() {
		work := c.receive
		if c.send {
			work = transmit
		}
		if err := work(conn); !c.closing.Load() {
			select {
			case c.failed <- err:
			default: // another one has told
			}
		}
	})
}

// transmit sends until that fails.
func transmit(conn *net.TCPConn) error {
	buf := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buf)
	for {
		if _, err := conn.Write(buf[:]); err != nil {
			return err
		}
	}
}

// receive compares what comes with RFC 864's pattern until there is no more.
func (c *bulkClient) receive(conn *net.TCPConn) error {
	got, want := chunks.Get().(*[chunk]byte), chunks.Get().(*[chunk]byte)
	defer chunks.Put(got)
	defer chunks.Put(want)
	for at := uint64(0); ; {
		n, err := conn.Read(got[:])
		if rawload.Chargen(want[:n], at); !bytes.Equal(got[:n], want[:n]) {
			what := fmt.Sprintf("stream differs from RFC 864's pattern between bytes %d and %d", at, at+uint64(n))
			c.wrong.CompareAndSwap(nil, &what)
		}
		at += uint64(n)
		c.received.Add(uint64(n))
		if err != nil {
			return err
		}
	}
}

// progressAt waits until t, unless a connection fails before, and counts then.
func (c *bulkClient) progressAt(ctx context.Context, t time.Time) (progress, error) {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return c.progress()
	case err := <-c.failed:
		return progress{}, fmt.Errorf("transfer in bulk: %w", err)
	case <-ctx.Done():
		return progress{}, ctx.Err()
	}
}

// progress counts what was received, or acknowledged by the server.
func (c *bulkClient) progress() (progress, error) {
	p := progress{at: time.Now(), bytes: c.received.Load()}
	for _, conn := range c.conns {
		info, err := tcpInfo(conn)
		if err != nil {
			return p, fmt.Errorf("read a connection's progress: %w", err)
		}
		p.retransmits += uint64(info.Total_retrans)
		if c.send {
			p.bytes += info.Bytes_acked
		}
	}
	return p, nil
}

func tcpInfo(conn *net.TCPConn) (info *unix.TCPInfo, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	return info, errors.Join(cerr, err)
}

// close resets the connections: neither end is to send what it has left.
func (c *bulkClient) close() {
	c.closing.Store(true)
	for _, conn := range c.conns {
		_ = conn.SetLinger(0) // the peer may have reset it
		_ = conn.Close()
	}
	c.wg.Wait()
}
