package drop

import (
	"regexp"
	"testing"
)

// Programs read the names: each reason has one of its own, in one style.
func TestReasonsAreNamed(t *testing.T) {
	style := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	reasons := make(map[string]Reason)
	for r := range NumReasons {
		name := r.String()
		if !style.MatchString(name) || name == NumReasons.String() {
			t.Errorf("reason %d is named %q, want lower-case words with hyphens", r, name)
		}
		if other, taken := reasons[name]; taken {
			t.Errorf("reasons %d and %d are both named %q", other, r, name)
		}
		reasons[name] = r
	}
	if name := NumReasons.String(); name != "unknown" {
		t.Errorf("what is no reason is named %q", name)
	}
}

func TestCounts(t *testing.T) {
	var c, d Counts
	for r := range NumReasons {
		c[r], d[r] = 1<<r, 1<<(16+uint(r))
	}
	c.Add(&d)
	var received, sent uint64
	for r := range NumReasons {
		n := uint64(1<<r | 1<<(16+uint(r)))
		if c[r] != n {
			t.Errorf("%v is %#x after Add, want %#x", r, c[r], n)
		}
		switch r {
		case Malformed, OtherHost, UnknownProtocol, BadChecksum, HandoverFull, SocketBufferFull:
			received += n
		case SlowPathFull: // netstack had it: it is counted as delivered
		case ReplyBacklog, TxBacklog, TooLong, NoNeighbor, NeighborQueue:
			sent += n
		default:
			t.Errorf("%v is in no group: say here where it belongs", r)
		}
	}
	if c.Received() != received || c.Sent() != sent {
		t.Errorf("received %#x and sent %#x, want %#x and %#x", c.Received(), c.Sent(), received, sent)
	}
}
