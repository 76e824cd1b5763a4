package bench

import (
	"errors"
	"sync"
	"time"

	"shardnet/driver"
)

// joined is one device made of several with one queue each: a NIC that keeps each
// link partner on a queue, and does not say how.
type joined struct {
	parts []driver.Device
	close func() error
}

func newJoined(parts []driver.Device) *joined {
	return &joined{parts: parts, close: sync.OnceValue(func() error {
		var errs []error
		for _, p := range parts {
			errs = append(errs, p.Close())
		}
		return errors.Join(errs...)
	})}
}

func (j *joined) Info() driver.Info {
	info := j.parts[0].Info()
	info.Queues, info.RSS = len(j.parts), nil
	return info
}

func (j *joined) Queue(i int) driver.Queue { return j.parts[i].Queue(0) }
func (j *joined) Close() error             { return j.close() }

// yielding is a device whose queues don't wait: they give the CPU to whoever else
// is ready to run on it, and come back. That takes a microsecond, where to park a
// thread and wake it takes ten.
type yielding struct{ driver.Device }

func (y yielding) Queue(i int) driver.Queue { return yieldingQueue{y.Device.Queue(i)} }

type yieldingQueue struct{ driver.Queue }

func (q yieldingQueue) Wait(time.Duration) error {
	yieldCPU()
	return nil // for no reason, as Wait may
}
