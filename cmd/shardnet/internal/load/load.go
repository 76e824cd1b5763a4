package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Workload is a kind of request and the transport it goes over.
type Workload struct {
	Name    string // "echo tcp"
	Network string // "tcp" or "udp"

	// open makes a session on a new connection. No two sessions of a run have the
	// same id.
	open func(c net.Conn, id uint32) session
}

// session is a client's side of one connection.
type session interface {
	// do makes one request, waits for its answer and verifies it. It returns how
	// often it had to ask again because a datagram was lost. After an error the
	// session is not used again.
	do() (lost int, err error)
}

// Dial opens a connection, as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Config says what Run does.
type Config struct {
	Workload  Workload
	Dial      Dial
	Addresses []string // connection i goes to Addresses[i modulo their number]
	Conns     int
	Duration  time.Duration // of the measured part
}

// Result is what came of a run.
type Result struct {
	Conns    int // sessions that got their first answer
	Requests uint64
	Elapsed  time.Duration
	Lost     uint64 // datagrams that had to be sent again
	Errors   uint64 // sessions that failed: no connection, no answer, or a wrong one

	// Latency holds each request's time in nanoseconds, to two significant digits.
	Latency *hdrhistogram.Histogram

	first error
}

// Rate is the requests per second.
func (r *Result) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Requests) / r.Elapsed.Seconds()
}

// Quantile is the time that q percent of the requests took at most.
func (r *Result) Quantile(q float64) time.Duration {
	return time.Duration(r.Latency.ValueAtQuantile(q))
}

// Err is nil when every session did all it was to do and every answer was right.
func (r *Result) Err() error {
	if r.Errors == 0 {
		return nil
	}
	return fmt.Errorf("%d sessions failed, the first: %w", r.Errors, r.first)
}

const (
	// dialing bounds the connections being opened at a time: a burst of hundreds
	// of SYNs says more of queue lengths than of the server.
	dialing = 32
	// dialTimeout bounds one connection's opening, its first request included.
	dialTimeout = 5 * time.Second
	// answerTimeout is how long an answer over TCP may take.
	answerTimeout = 5 * time.Second
	// slowest is the longest time the histogram tells from longer ones.
	slowest = 60 * time.Second
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(100, int64(slowest), 2)
}

// Run opens all connections, makes one request on each, and then measures for
// cfg.Duration or until ctx ends. It always returns a Result; what failed is in
// its Errors and Err.
func Run(ctx context.Context, cfg Config) *Result {
	r := &run{cfg: cfg}
	r.connect(ctx)
	start := time.Now()
	r.measure(ctx)
	res := &Result{Elapsed: time.Since(start), Latency: newHistogram()}
	for _, w := range r.workers {
		_ = w.conn.Close()
		if w.hist.TotalCount() > 0 {
			res.Conns++
		}
		res.Requests += uint64(w.hist.TotalCount())
		res.Lost += uint64(w.lost)
		res.Latency.Merge(w.hist)
	}
	res.Errors, res.first = r.errors, r.first
	if r.errors == 0 && len(r.workers) == 0 {
		res.Errors, res.first = 1, errors.Join(errors.New("no connection was opened"), ctx.Err())
	}
	return res
}

type run struct {
	cfg     Config
	mu      sync.Mutex
	workers []*worker
	errors  uint64
	first   error
}

// worker is one connection and the goroutine that uses it.
type worker struct {
	conn net.Conn
	s    session
	hist *hdrhistogram.Histogram
	lost int
}

func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.errors++; r.first == nil {
		r.first = err
	}
}

func (r *run) connect(ctx context.Context) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, dialing)
	for i := range r.cfg.Conns {
		if ctx.Err() != nil {
			break
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := r.open(ctx, uint32(i)); err != nil && ctx.Err() == nil {
				r.fail(err)
			}
		})
	}
	wg.Wait()
}

// open opens connection i and makes its first request, which is not measured: it
// waits for neighbours to be resolved and memory to be there.
func (r *run) open(ctx context.Context, i uint32) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	address := r.cfg.Addresses[int(i)%len(r.cfg.Addresses)]
	c, err := r.cfg.Dial(ctx, r.cfg.Workload.Network, address)
	if err != nil {
		return err
	}
	_ = c.SetDeadline(time.Now().Add(dialTimeout))
	w := &worker{conn: c, s: r.cfg.Workload.open(c, i), hist: newHistogram()}
	if w.lost, err = w.s.do(); err != nil {
		_ = c.Close()
		return fmt.Errorf("%s %s: first request: %w", r.cfg.Workload.Name, address, err)
	}
	r.mu.Lock()
	r.workers = append(r.workers, w)
	r.mu.Unlock()
	return nil
}

// measure runs all workers until the time is over. What interrupts the sessions
// early is ctx alone.
func (r *run) measure(ctx context.Context) {
	var over atomic.Bool
	end := time.AfterFunc(r.cfg.Duration, func() { over.Store(true) })
	defer end.Stop()
	// An interrupted run does not wait for answers.
	stop := context.AfterFunc(ctx, func() {
		over.Store(true)
		for _, w := range r.workers {
			_ = w.conn.Close()
		}
	})
	defer stop()
	deadline := time.Now().Add(r.cfg.Duration + answerTimeout)
	var wg sync.WaitGroup
	for _, w := range r.workers {
		_ = w.conn.SetWriteDeadline(deadline)
		if r.cfg.Workload.Network != "udp" {
			_ = w.conn.SetReadDeadline(deadline)
		} // else the asker has one of its own in force, and asks again
		wg.Go(func() {
			for !over.Load() {
				start := time.Now()
				lost, err := w.s.do()
				w.lost += lost
				if err != nil {
					if ctx.Err() == nil {
						r.fail(fmt.Errorf("%s: %w", r.cfg.Workload.Name, err))
					}
					return
				}
				_ = w.hist.RecordValue(min(int64(time.Since(start)), int64(slowest)))
			}
		})
	}
	wg.Wait()
}
