package memnic

import (
	"fmt"
	"sync/atomic"

	"shardnet/driver"
	"shardnet/driver/rss"
)

// Device is one end of the cable, a driver.Device.
type Device struct {
	end    resolved
	info   driver.Info
	queues []*queue
	peer   *Device
	link   *link

	steering atomic.Pointer[rss.Steering]
}

// link is the state of the cable.
type link struct {
	up atomic.Bool
}

// NewPair returns the two ends of a new cable, whose link is up. Each is closed on
// its own. Nil is the default Config.
func NewPair(cfg *Config) (a, b *Device, err error) {
	ra, rb, err := cfg.resolve()
	if err != nil {
		return nil, nil, fmt.Errorf("make memory NIC pair: %w", err)
	}
	l := new(link)
	l.up.Store(true)
	a = &Device{end: ra, info: ra.info, link: l}
	b = &Device{end: rb, info: rb.info, link: l}
	a.peer, b.peer = b, a
	a.steering.Store(ra.steering)
	b.steering.Store(rb.steering)
	for end, d := range []*Device{a, b} {
		for i := range d.info.Queues {
			d.queues = append(d.queues, newQueue(d, end, i))
		}
	}
	return a, b, nil
}

// Info implements driver.Device. The key and table it points to are those the
// device was opened with, not its registers: changing them changes nothing.
func (d *Device) Info() driver.Info { return d.info }

// Queue implements driver.Device.
func (d *Device) Queue(i int) driver.Queue { return d.queues[i] }

// Close closes every queue. It is idempotent. The other end stays open; what it
// sends from then on is counted in this end's RxDropped.
func (d *Device) Close() error {
	for _, q := range d.queues {
		_ = q.Close() // never fails
	}
	return nil
}

// SetLinkUp plugs the cable in or pulls it out, for both ends. While it is out,
// Flush returns driver.ErrLinkDown and frames stay in the TX rings. Every owner
// asleep in Wait is woken. It may be called from any goroutine.
func (d *Device) SetLinkUp(up bool) {
	d.link.up.Store(up)
	for _, end := range []*Device{d, d.peer} {
		for _, q := range end.queues {
			q.Wake()
		}
	}
}

// LinkUp reports whether the cable is plugged in.
func (d *Device) LinkUp() bool { return d.link.up.Load() }

// SetIndirection changes the indirection table while traffic flows, as ethtool -X
// does: connections move to other queues in mid-life. Info goes on telling the
// table the device was opened with. It may be called from any goroutine.
func (d *Device) SetIndirection(table []uint16) error {
	if err := rss.Table(table).Validate(len(d.queues)); err != nil {
		return fmt.Errorf("set indirection table: %w", err)
	}
	s, err := rss.New(d.end.Key, table)
	if err != nil {
		return fmt.Errorf("set indirection table: %w", err)
	}
	d.steering.Store(s)
	return nil
}

// deliver puts frames of the other end into the rings of d's queues, as RSS has
// it. dest is scratch of the same length. It is called from any goroutine.
func (d *Device) deliver(frames [][]byte, dest []uint16) {
	if len(d.queues) == 1 {
		clear(dest)
		d.queues[0].rx.deliver(frames, dest, 0)
		return
	}
	steering := d.steering.Load()
	for i, f := range frames {
		dest[i] = uint16(steering.QueueOfFrame(f))
	}
	// One visit for each queue that gets something: lock, publish and wake once.
	for i := range frames {
		if seen(dest, i) {
			continue
		}
		d.queues[dest[i]].rx.deliver(frames[i:], dest[i:], dest[i])
	}
}

// seen reports whether dest[i] occurs before i.
func seen(dest []uint16, i int) bool {
	for _, q := range dest[:i] {
		if q == dest[i] {
			return true
		}
	}
	return false
}
