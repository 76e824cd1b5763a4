package serve

import (
	"errors"
	"net/netip"

	"shardnet/driver"
	"shardnet/driver/asavie"
)

// openNIC opens the interface of cfg, with a queue for each shard.
func openNIC(cfg *Config) (driver.Device, error) {
	if cfg.Driver == "asavie" {
		dev, err := openAsavie(cfg)
		return dev, err
	}
	return nil, errors.New("TEMP")
}

func openAsavie(cfg *Config) (*asavie.Device, error) {
	modes := map[string]asavie.Mode{"auto": asavie.Auto, "zero-copy": asavie.ZeroCopy, "copy": asavie.Copy, "generic": asavie.Generic}
	return asavie.Open(&asavie.Config{
		Interface: cfg.Interface,
		Queues:    cfg.Shards,
		Addresses: cfg.ips(),
		Mode:      modes[cfg.Mode],
	})
}

// ips are the addresses without their prefix lengths.
func (c *Config) ips() []netip.Addr {
	var ips []netip.Addr
	for _, a := range c.Addresses {
		ips = append(ips, a.Addr())
	}
	return ips
}
