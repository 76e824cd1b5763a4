package soak

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"shardnet/socketapi"
)

// echo is a Handler that sends back what it gets, and has moods: it answers late by a
// timer or after work of a goroutine, or resets the connection.
type echo struct {
	opened, closed atomic.Int64
}

// visit is an echo's state of a connection.
type visit struct {
	left   int // bytes until the mood strikes
	absent bool
}

// Errors of echo's own.
var errTwice = errors.New("OnClose for what was not open")

func (e *echo) OnOpen(c *socketapi.EventConn) {
	e.opened.Add(1)
	c.SetValue(&visit{left: 1 + rand.IntN(40_000)})
}

func (e *echo) OnData(c *socketapi.EventConn, data []byte) int {
	v := c.Value().(*visit)
	if v.absent {
		return 0
	}
	if v.left -= len(data); v.left <= 0 {
		v.left = 1 + rand.IntN(200_000)
		back := func(c *socketapi.EventConn) { c.Value().(*visit).absent = false }
		switch pause := time.Duration(rand.IntN(2000)) * time.Microsecond; rand.IntN(8) {
		case 0:
			c.Abort()
			return len(data)
		case 1, 2:
			v.absent = true
			c.AfterFunc(pause, back)
			return 0
		case 3, 4:
			v.absent = true
			c.Go(func() func(*socketapi.EventConn) {
				time.Sleep(pause) // the work
				return back
			})
			return 0
		}
	}
	n, _ := c.Write(data)
	return n
}

func (e *echo) OnWritable(*socketapi.EventConn) {}

func (e *echo) OnClose(c *socketapi.EventConn, _ error) {
	if _, ok := c.Value().(*visit); !ok {
		panic(errTwice)
	}
	c.SetValue(nil)
	e.closed.Add(1)
}

// visitEcho is a client of echo's, which may be reset at any time.
func visitEcho(c *socketapi.Conn, h header) error {
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	n := int(h.up)
	err := both(func() error {
		return write(c, h.seed, n)
	}, func() error {
		return read(c, h.seed, n)
	})
	if err != nil {
		return err
	}
	switch h.kind % 4 {
	case 0:
		return reset(c)
	case 1:
		if err := c.CloseWrite(); err != nil {
			return err
		}
		return readEnd(c)
	case 2: // with more sent than is read
		err := write(c, h.seed, n/8)
		return errors.Join(err, c.Close())
	}
	return nil
}
