package loop

// Poller decides for how long an idle loop polls before it sleeps.
//
// To sleep and be woken costs a packet some tens of microseconds of latency, and
// to poll costs the whole CPU. Polling pays if the next packet comes soon, and the
// best forecast is how soon the last one came: as Linux does for a halted virtual
// CPU (Documentation/virt/kvm/halt-polling.rst), the loop polls for max while
// packets come within max of each other, and for half as long as before each time
// one has taken longer, down to nothing. So steady traffic is polled for, and a
// packet now and then is not.
//
// It belongs to the loop. Times are the shard's clock's, in nanoseconds.
type Poller struct {
	max    int64 // 0 never polls
	window int64
	last   int64 // the last turn with work
	idle   bool  // since then
}

// NewPoller returns a poller that polls for limit nanoseconds at most, and not at all if limit
// is less than one.
func NewPoller(limit, now int64) Poller { return Poller{max: max(limit, 0), last: now} }

// minPoll is the window that is not worth having.
const minPoll = 1000

// NoteWork notes a turn, at time now, that found something to do.
func (p *Poller) NoteWork(now int64) {
	if p.idle {
		p.idle = false
		if now-p.last <= p.max {
			p.window = p.max
		} else if p.window /= 2; p.window < minPoll {
			p.window = 0
		}
	}
	p.last = now
}

// Poll reports, in a turn at time now that found nothing, whether to go on polling.
func (p *Poller) Poll(now int64) bool {
	p.idle = true
	return now-p.last < p.window
}
