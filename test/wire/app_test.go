//go:build linux

package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// app is the application on the target.
type app struct {
	ctx    context.Context
	cancel context.CancelFunc
	ln     net.Listener
	conn   conn
	dialed chan dialing
	read   int // bytes of the stream, so far
	wrote  int
	filled int // bytes that fill sent
	all    []conn
}

// dialing is what came of a dial.
type dialing struct {
	c   net.Conn
	err error
}

// end gives up what the script has left open, with RST.
func (a *app) end() {
	a.cancel()
	if a.dialed != nil {
		if d := <-a.dialed; d.err == nil {
			a.use(d.c)
		}
	}
	for _, c := range a.all {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
	if a.ln != nil {
		_ = a.ln.Close()
	}
}

func (a *app) use(c net.Conn) {
	a.conn = c.(conn)
	a.all = append(a.all, a.conn)
	a.read, a.wrote = 0, 0
}

// calls are what a script can have the application do, by name, and a few things
// beside that take plain arguments.
var calls = map[string]struct {
	least, most int
	do          func(c *conversation, args []string) error
}{
	"listen":     {0, 4, (*conversation).listen},
	"accept":     {0, 0, func(c *conversation, _ []string) error { return c.accept() }},
	"noaccept":   {0, 0, func(c *conversation, _ []string) error { return c.noAccept() }},
	"dial":       {0, 0, func(c *conversation, _ []string) error { return c.dial() }},
	"connected":  {0, 0, func(c *conversation, _ []string) error { return c.connected(nil) }},
	"dialerror":  {1, 1, func(c *conversation, a []string) error { return c.connected(a) }},
	"write":      {1, 1, number((*conversation).write)},
	"read":       {1, 1, number((*conversation).readExactly)},
	"readall":    {0, 0, func(c *conversation, _ []string) error { return c.readExactly(c.filled) }},
	"unreadable": {0, 0, func(c *conversation, _ []string) error { return c.readError("TIMEOUT", 50*time.Millisecond) }},
	"eof":        {0, 0, func(c *conversation, _ []string) error { return c.readError("EOF", patience) }},
	"error":      {1, 1, func(c *conversation, a []string) error { return c.readError(a[0], patience) }},
	"writeerror": {1, 1, func(c *conversation, a []string) error { return c.writeError(a[0]) }},
	"closewrite": {0, 0, onConn(func(k conn) error { return k.CloseWrite() })},
	"closeread":  {0, 0, onConn(func(k conn) error { return k.CloseRead() })},
	"close":      {0, 0, onConn(func(k conn) error { return k.Close() })},
	"abort":      {0, 0, onConn(func(k conn) error { return errors.Join(k.SetLinger(0), k.Close()) })},
	"nagle":      {0, 0, onConn(func(k conn) error { return k.SetNoDelay(false) })},
	"keepalive":  {3, 3, (*conversation).keepAlive},
	"unlisten":   {0, 0, func(c *conversation, _ []string) error { return c.ln.Close() }},
	"flood":      {1, 1, number((*conversation).flood)},
	"fill":       {1, 1, number((*conversation).fill)},
	"probe":      {1, 1, number((*conversation).probe)},
	"remember": {0, 0, func(c *conversation, _ []string) error {
		c.now().old = c.now().val
		return nil
	}},
	"peer": {1, 1, number(func(c *conversation, n int) error {
		c.port = peerPort + uint16(n)
		return nil
	})},
	"quiet": {1, 1, func(c *conversation, a []string) error {
		d, err := time.ParseDuration(a[0])
		if err != nil {
			return err
		}
		return c.quiet(d)
	}},
}

func number(do func(*conversation, int) error) func(*conversation, []string) error {
	return func(c *conversation, args []string) error {
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		return do(c, n)
	}
}

func onConn(do func(conn) error) func(*conversation, []string) error {
	return func(c *conversation, _ []string) error {
		c.mark = time.Now()
		return do(c.conn)
	}
}

func (c *conversation) listen(args []string) (err error) {
	var l listening
	for ; len(args) >= 2; args = args[2:] {
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		switch args[0] {
		case "backlog":
			l.backlog = n
		case "rcvbuf":
			l.rcvbuf = n
		default:
			return fmt.Errorf("no option %q", args[0])
		}
	}
	c.ln, err = c.target.listen(c.at, l)
	return err
}

// deadliner is what listeners have that can be waited for.
type deadliner interface{ SetDeadline(time.Time) error }

func (c *conversation) accept() error {
	if err := c.ln.(deadliner).SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	k, err := c.ln.Accept()
	if err != nil {
		return err
	}
	c.use(k)
	return nil
}

func (c *conversation) noAccept() error {
	if err := c.ln.(deadliner).SetDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		return err
	}
	k, err := c.ln.Accept()
	if err == nil {
		c.use(k)
		return errors.New("there is a connection")
	}
	return match(err, "TIMEOUT")
}

// dial begins to connect to the peer's port that speaks.
func (c *conversation) dial() error {
	ch := make(chan dialing, 1)
	to := netip.AddrPortFrom(c.peer, c.port)
	ctx := c.ctx
	go func() {
		k, err := c.target.dial(ctx, to)
		ch <- dialing{k, err}
	}()
	c.dialed = ch
	c.mark = time.Now()
	return nil
}

// connected waits for the dial to end: well, or with the error of that name.
func (c *conversation) connected(name []string) error {
	limit := patience
	if name != nil {
		limit = 20 * time.Second
	}
	select {
	case d := <-c.dialed:
		c.dialed = nil
		if d.err == nil {
			c.use(d.c)
		}
		if name != nil {
			return match(d.err, name[0])
		}
		return d.err
	case <-time.After(limit):
		return errors.New("the dial goes on")
	}
}

func (c *conversation) write(n int) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	c.mark = time.Now()
	b := patterned(c.wrote, n)
	c.wrote += n
	_, err := c.conn.Write(b)
	return err
}

func (c *conversation) writeError(name string) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.conn.Write([]byte{0})
	return match(err, name)
}

func (c *conversation) readExactly(n int) error {
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	b := make([]byte, n)
	got, err := io.ReadFull(c.conn, b)
	if err != nil {
		return fmt.Errorf("after %d bytes: %w", got, err)
	}
	if !bytes.Equal(b, patterned(c.read, n)) {
		return errors.New("other bytes than were sent")
	}
	c.read += n
	return nil
}

func (c *conversation) readError(name string, limit time.Duration) error {
	if err := c.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	n, err := c.conn.Read(make([]byte, 1))
	if n > 0 {
		return errors.New("there is data")
	}
	return match(err, name)
}

func (c *conversation) keepAlive(args []string) error {
	var d [2]time.Duration
	for i := range d {
		var err error
		if d[i], err = time.ParseDuration(args[i]); err != nil {
			return err
		}
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	return c.conn.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: d[0], Interval: d[1], Count: n})
}

var errorNames = map[string]error{
	"EOF": io.EOF, "TIMEOUT": os.ErrDeadlineExceeded,
	"ECONNRESET": syscall.ECONNRESET, "ECONNREFUSED": syscall.ECONNREFUSED, "ETIMEDOUT": syscall.ETIMEDOUT,
	"EPIPE": syscall.EPIPE, "EHOSTUNREACH": syscall.EHOSTUNREACH, "ENETUNREACH": syscall.ENETUNREACH, "ENOPROTOOPT": syscall.ENOPROTOOPT,
	"ECONNABORTED": syscall.ECONNABORTED, "EOPNOTSUPP": syscall.EOPNOTSUPP,
}

func match(got error, name string) error {
	for n := range strings.SplitSeq(name, "|") {
		want := errorNames[n]
		if want == nil {
			return fmt.Errorf("no error is called %q", n)
		}
		if errors.Is(got, want) {
			return nil
		}
	}
	return fmt.Errorf("the error is %v", got)
}
