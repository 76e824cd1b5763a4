//go:build !linux

package afxdp

import (
	"errors"
	"fmt"
	"runtime"

	"shardnet/driver"
)

// Device is an opened NIC; there is none on this system.
type Device struct{ driver.Device }

// Open fails: AF_XDP is Linux's.
func Open(cfg *Config) (*Device, error) {
	if _, err := cfg.resolve(); err != nil {
		return nil, fmt.Errorf("open AF_XDP device: %w", err)
	}
	return nil, fmt.Errorf("open AF_XDP device on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
