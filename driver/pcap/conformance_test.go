package pcap

import (
	"io"
	"testing"

	"shardnet/driver/drivertest"
	"shardnet/driver/memnic"
)

// TestConformance holds that a captured device is a driver like any other.
func TestConformance(t *testing.T) {
	drivertest.Run(t, func(t *testing.T, cfg drivertest.Config) drivertest.Pair {
		a, b, err := memnic.NewPair(&memnic.Config{
			A: memnic.End{Queues: cfg.Queues, RxRing: cfg.RxRing, TxRing: cfg.TxRing, Frames: cfg.Frames},
			B: memnic.End{Queues: cfg.Queues},
		})
		if err != nil {
			t.Fatal(err)
		}
		dev, err := Wrap(a, io.Discard, nil)
		if err != nil {
			t.Fatal(err)
		}
		return drivertest.Pair{A: dev, B: b, SetLink: func(up bool) error {
			a.SetLinkUp(up)
			return nil
		}}
	})
}
