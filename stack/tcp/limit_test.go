package tcp

import (
	"testing"
)

// TestAnswersASecond holds the bounds on what strangers can make an engine send in a second,
// from all of its connections together (RFC 5961 section 7). Each connection is sent one
// segment, so its own bound is never reached. The numbers are written down here once more,
// so that a bound that was raised does not pass unseen.
func TestAnswersASecond(t *testing.T) {
	const conns = 6000
	d := newDirect(t, conns, [2]func(*Conn, []byte) int{}, Config{})
	_, servers := d.connect(t, conns)
	h := d.hosts[1]
	for _, tc := range []struct {
		name  string
		max   int
		count func(s Stats) uint64
		input func(c *Conn) Segment
	}{
		{"RST in the window", 1000, challengeAcks, func(c *Conn) Segment {
			return Segment{Tuple: c.tuple, Seq: c.rcv.nxt + 1, Flags: FlagRST}
		}},
		{"SYN", 1000, challengeAcks, func(c *Conn) Segment {
			return Segment{Tuple: c.tuple, Seq: c.rcv.nxt + 1, Flags: FlagSYN}
		}},
		{"ACK of what was not sent", 1000, challengeAcks, func(c *Conn) Segment {
			return Segment{Tuple: c.tuple, Seq: c.rcv.nxt, Ack: c.snd.nxt + 1, Flags: FlagACK}
		}},
		{"keep-alive", 1000, nil, func(c *Conn) Segment {
			return Segment{Tuple: c.tuple, Seq: c.rcv.nxt - 1, Ack: c.snd.nxt, Flags: FlagACK}
		}},
		{"segment of no connection", 5000, func(s Stats) uint64 { return s.Resets }, func(c *Conn) Segment {
			s := Segment{Tuple: c.tuple, Flags: FlagACK}
			s.LocalPort++
			return s
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for second := range 2 {
				d.now = (d.now>>30 + 1) << 30 // the next second of the bounds
				before := h.e.Stats()
				h.used = 0
				for _, c := range servers {
					s := tc.input(c)
					s.HasTS, s.TSVal = true, c.ts.recent
					if h.e.Input(d.now, &s) == NoConnection {
						h.e.Reject(&s)
					}
				}
				for h.e.Flush(d.now) {
				}
				if h.used != tc.max {
					t.Errorf("second %d: %d segments are answered with %d, want %d", second, conns, h.used, tc.max)
				}
				if after := h.e.Stats(); tc.count != nil && tc.count(after)-tc.count(before) != uint64(tc.max) {
					t.Errorf("second %d: the count rose by %d, want %d", second, tc.count(after)-tc.count(before), tc.max)
				}
			}
		})
	}
}

func challengeAcks(s Stats) uint64 { return s.ChallengeAcks }
