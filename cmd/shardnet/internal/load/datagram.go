package load

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

const (
	// datagramTimeout is how long an answer is waited for before it is asked for
	// again; at most twice as long.
	datagramTimeout = 500 * time.Millisecond
	datagramTries   = 4
)

// asker sends a request in a datagram, and sends it again when no answer comes.
type asker struct {
	c        net.Conn
	buf      [2048]byte
	deadline time.Time
}

// ask sends req until judge takes an answer. judge returns whether the datagram
// is the answer, or an error when it is a wrong one; false without an error is a
// late answer to an earlier request.
func (a *asker) ask(req []byte, judge func(answer []byte) (bool, error)) (lost int, err error) {
	for try := range datagramTries {
		// Moving a deadline costs more than a request should: once for many.
		if now := time.Now(); a.deadline.Sub(now) < datagramTimeout {
			a.deadline = now.Add(2 * datagramTimeout)
			if err := a.c.SetReadDeadline(a.deadline); err != nil {
				return try, err
			}
		}
		if _, err := a.c.Write(req); err != nil {
			return try, err
		}
		for {
			n, err := a.c.Read(a.buf[:])
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return try, err
			}
			ok, err := judge(a.buf[:n])
			if err != nil {
				return try, err
			}
			if ok {
				return try, nil
			}
		}
	}
	return datagramTries, fmt.Errorf("no answer from %v to %d datagrams", a.c.RemoteAddr(), datagramTries)
}
