package fault

import (
	"testing"

	"shardnet/driver/drivertest"
	"shardnet/driver/memnic"
)

// TestConformance holds that the wrapper is a driver like any other: without
// faults, and with the machinery for them in place but nothing that happens.
func TestConformance(t *testing.T) {
	for _, tt := range []struct {
		name    string
		cfg     Config
		packets int
	}{
		{"no faults", Config{}, 0},
		{"idle faults", Config{Drop: 1e-15, Corrupt: 1e-15, Duplicate: 1e-15, Reorder: 1e-15}, 200_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			drivertest.Run(t, func(t *testing.T, cfg drivertest.Config) drivertest.Pair {
				a, b, err := memnic.NewPair(&memnic.Config{
					A: memnic.End{Queues: cfg.Queues, RxRing: cfg.RxRing, TxRing: cfg.TxRing, Frames: cfg.Frames},
					B: memnic.End{Queues: cfg.Queues},
				})
				if err != nil {
					t.Fatal(err)
				}
				dev, err := Wrap(a, tt.cfg)
				if err != nil {
					t.Fatal(err)
				}
				return drivertest.Pair{A: dev, B: b, Packets: tt.packets, SetLink: func(up bool) error {
					a.SetLinkUp(up)
					return nil
				}}
			})
		})
	}
}
