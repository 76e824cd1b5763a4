package socketapi

import (
	"net"
	"shardnet/stack/flow"
	"time"
)

// What package net takes for a zero field of a net.KeepAliveConfig.
const (
	defaultKeepAlive      = 15 * time.Second // idle time, and interval
	defaultKeepAliveCount = 9
)

// keepAliveConfig joins the two settings of a net.Dialer or net.ListenConfig, by
// their rules: cfg when it is enabled, otherwise an idle time, 0 being the default
// and negative no probes.
func keepAliveConfig(idle time.Duration, cfg net.KeepAliveConfig) net.KeepAliveConfig {
	if !cfg.Enable && idle >= 0 {
		return net.KeepAliveConfig{Enable: true, Idle: idle}
	}
	return cfg
}

// SetNoDelay(false) lets the stack hold back small segments to join them
// (Nagle's algorithm). The default is true: what is written leaves at once.
func (c *Conn) SetNoDelay(noDelay bool) error {
	return c.option(func() error { return c.flow.SetNoDelay(noDelay) })
}

// SetKeepAlive turns keep-alive probes on or off. They are on by default.
func (c *Conn) SetKeepAlive(on bool) error {
	return c.option(func() error {
		c.keepAlive.Store(on)
		return c.flow.SetKeepAlive(on, 0, 0, 0)
	})
}

// SetKeepAlivePeriod sets how long the connection must be idle before the first
// probe. It does not turn probes on.
func (c *Conn) SetKeepAlivePeriod(d time.Duration) error {
	return c.option(func() error {
		return c.flow.SetKeepAlive(c.keepAlive.Load(), max(orDefault(d, defaultKeepAlive), 0), 0, 0)
	})
}

// SetKeepAliveConfig sets all there is to set about keep-alive probes.
func (c *Conn) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	return c.option(func() error { return c.setKeepAlive(config) })
}

func (c *Conn) setKeepAlive(k net.KeepAliveConfig) error {
	c.keepAlive.Store(k.Enable)
	return setKeepAlive(c.flow, k)
}

// setKeepAlive translates: for package net zero is the default and negative is
// unchanged, for a flow zero is unchanged.
func setKeepAlive(f flow.Flow, k net.KeepAliveConfig) error {
	return f.SetKeepAlive(k.Enable,
		max(orDefault(k.Idle, defaultKeepAlive), 0),
		max(orDefault(k.Interval, defaultKeepAlive), 0),
		max(orDefault(k.Count, defaultKeepAliveCount), 0))
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// SetLinger sets what Close does with bytes not yet sent: with sec < 0, the
// default, and sec > 0 they are sent in the background, with sec == 0 they are
// discarded and the peer is reset. Close never waits.
func (c *Conn) SetLinger(sec int) error {
	return c.option(func() error { return c.flow.SetLinger(sec) })
}

// SetReadBuffer sets how many received bytes the stack keeps for Read.
func (c *Conn) SetReadBuffer(bytes int) error {
	if err := c.rd.errClosed(); err != nil {
		return c.setError(err)
	}
	return c.setError(c.flow.SetReadBuffer(bytes))
}

// SetWriteBuffer sets how many bytes the stack takes from Write before the peer
// has acknowledged them.
func (c *Conn) SetWriteBuffer(bytes int) error {
	if err := c.wr.errClosed(); err != nil {
		return c.setError(err)
	}
	return c.setError(c.flow.SetWriteBuffer(bytes))
}

// option sets one for which package net names both addresses in an error.
func (c *Conn) option(set func() error) error {
	err := c.rd.errClosed()
	if err == nil {
		err = set()
	}
	if err != nil {
		return c.opError("set", sysError("setsockopt", err))
	}
	return nil
}
