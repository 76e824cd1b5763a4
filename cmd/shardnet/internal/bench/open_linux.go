package bench

import (
	"net/netip"

	"shardnet/driver"
	"shardnet/driver/afxdp"
)

// openInterface opens the one queue of the interface that cfg names, in the
// calling thread's network namespace.
func openInterface(cfg *ServerConfig) (driver.Device, error) {
	return afxdp.Open(&afxdp.Config{
		Interface: cfg.Interface, Addresses: []netip.Prefix{cfg.Address}, BusyPoll: cfg.BusyPoll,
	})
}
