//go:build linux && amd64

package asavie

import (
	"errors"
	"sync"

	"shardnet/driver"
	"shardnet/driver/internal/xdpprog"
)

// Device is an opened NIC, a driver.Device.
type Device struct {
	info    driver.Info
	program *xdpprog.Program
	queues  []*queue

	closeOnce sync.Once
	closeErr  error
}

// Info implements driver.Device.
func (d *Device) Info() driver.Info { return d.info }

// Queue implements driver.Device.
func (d *Device) Queue(i int) driver.Queue { return d.queues[i] }

// Close takes the XDP program off the interface, which from then on is all the
// kernel's, and closes the queues. It is idempotent.
func (d *Device) Close() error {
	d.closeOnce.Do(func() {
		errs := []error{d.program.Close()}
		for _, q := range d.queues {
			errs = append(errs, q.Close())
		}
		d.closeErr = errors.Join(errs...)
	})
	return d.closeErr
}
