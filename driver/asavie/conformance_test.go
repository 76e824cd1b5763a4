//go:build linux && amd64

package asavie

import (
	"net/netip"
	"testing"

	"shardnet/driver/drivertest"
	"shardnet/driver/netlab"
)

// TestConformance runs the suite with this driver at both ends of a veth pair.
func TestConformance(t *testing.T) {
	pairs := make(map[int][2]*netlab.Interface) // by number of queues
	for _, queues := range []int{1, 2} {
		a, b := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{Queues: queues})
		pairs[queues] = [2]*netlab.Interface{a, b}
	}
	drivertest.Run(t, func(t *testing.T, cfg drivertest.Config) drivertest.Pair {
		ends := pairs[cfg.Queues]
		open := func(i *netlab.Interface, addr netip.Prefix, rx, tx, frames int) (dev *Device) {
			err := i.Host.Do(func() (err error) {
				dev, err = Open(&Config{
					Interface: i.Name, Addresses: []netip.Prefix{addr}, RxRing: rx, TxRing: tx, Frames: frames,
				})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return dev
		}
		a := open(ends[0], cfg.AddrA, cfg.RxRing, cfg.TxRing, cfg.Frames)
		return drivertest.Pair{
			A: a, B: open(ends[1], cfg.AddrB, 0, 0, 0),
			Uncounted: true,
			SetLink: func(up bool) error {
				if up {
					return ends[0].SetUp()
				}
				return ends[0].SetDown()
			},
		}
	})
}
