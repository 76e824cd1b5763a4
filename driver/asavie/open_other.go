//go:build !(linux && amd64)

package asavie

import (
	"errors"
	"fmt"
	"runtime"

	"shardnet/driver"
)

// Device is an opened NIC; there is none on this system.
type Device struct{ driver.Device }

// Open fails on this system: github.com/asavie/xdp orders its ring accesses by
// nothing but the hardware, which amd64 does and others do not.
func Open(cfg *Config) (*Device, error) {
	if _, err := cfg.resolve(); err != nil {
		return nil, fmt.Errorf("open asavie device: %w", err)
	}
	return nil, fmt.Errorf("open asavie device on %s/%s: %w", runtime.GOOS, runtime.GOARCH, errors.ErrUnsupported)
}
