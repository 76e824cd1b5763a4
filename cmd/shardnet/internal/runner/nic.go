package runner

import (
	"errors"
	"fmt"

	"shardnet/driver"
	"shardnet/driver/afxdp"
	"shardnet/driver/asavie"
)

// openNIC opens the interface of cfg, with a queue for each shard.
func openNIC(cfg *Config) (driver.Device, error) {
	var (
		dev driver.Device
		err error
	)
	modes := map[string]afxdp.Mode{"auto": afxdp.Auto, "zero-copy": afxdp.ZeroCopy, "copy": afxdp.Copy, "generic": afxdp.Generic}
	if cfg.Driver == "asavie" {
		dev, err = asavie.Open(&asavie.Config{
			Interface: cfg.Interface,
			Queues:    cfg.Shards,
			Addresses: cfg.Addresses,
			Mode:      modes[cfg.Mode],
		})
	} else {
		dev, err = afxdp.Open(&afxdp.Config{
			Interface: cfg.Interface,
			Queues:    cfg.Shards,
			Addresses: cfg.Addresses,
			Mode:      modes[cfg.Mode],
			BusyPoll:  cfg.BusyPoll,
		})
	}
	switch {
	case err == nil:
		return dev, nil
	case errors.Is(err, afxdp.ErrTooManyQueues): // asavie's is the same
		err = fmt.Errorf("%w: a shard needs a queue of its own, so give fewer --shards, or more queues (ethtool -L)", err)
	case errors.Is(err, afxdp.ErrNoZeroCopy):
		err = fmt.Errorf("%w: leave out --mode for the best there is", err)
	case errors.Is(err, driver.ErrLinkDown):
		err = fmt.Errorf("%w: ip link set %s up", err, cfg.Interface)
	}
	return nil, err
}
