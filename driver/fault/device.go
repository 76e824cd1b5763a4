package fault

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"shardnet/driver"
)

// Device is a driver.Device whose traffic suffers faults.
type Device struct {
	dev    driver.Device
	queues []*queue

	closeOnce sync.Once
	closeErr  error
}

// Wrap puts the faults of cfg between dev and its user. The returned device owns
// dev and closes it in Close; when Wrap fails, dev stays the caller's.
func Wrap(dev driver.Device, cfg Config) (*Device, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("set up faults: %w", err)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &Device{dev: dev}
	start := cfg.Now()
	for i := range dev.Info().Queues {
		inner := dev.Queue(i)
		qcfg, err := cfg.withDefaults(inner.Stats().Frames)
		if err != nil {
			return nil, fmt.Errorf("set up faults: %w", err)
		}
		q := &queue{
			Queue:   inner,
			clock:   clock{now: cfg.Now, start: start},
			scratch: make([]driver.Frame, batch),
			mtu:     dev.Info().MTU,
		}
		if cfg.active(RX) {
			q.rx = newLine(qcfg, inner, i, RX)
		}
		if cfg.active(TX) {
			q.tx = newLine(qcfg, inner, i, TX)
		}
		d.queues = append(d.queues, q)
	}
	return d, nil
}

// Info implements driver.Device: it is the wrapped device's.
func (d *Device) Info() driver.Info { return d.dev.Info() }

// Queue implements driver.Device.
func (d *Device) Queue(i int) driver.Queue { return d.queues[i] }

// Counts returns what happened to the frames of queue i, received and
// transmitted. It may be called from any goroutine, also after Close.
func (d *Device) Counts(i int) (rx, tx Counts) {
	if l := d.queues[i].rx; l != nil {
		rx = l.counts.read()
	}
	if l := d.queues[i].tx; l != nil {
		tx = l.counts.read()
	}
	return rx, tx
}

// Close gives back the frames held and closes the wrapped device. It is
// idempotent.
func (d *Device) Close() error {
	d.closeOnce.Do(func() {
		var errs []error
		for _, q := range d.queues {
			errs = append(errs, q.Close())
		}
		d.closeErr = errors.Join(append(errs, d.dev.Close())...)
	})
	return d.closeErr
}
