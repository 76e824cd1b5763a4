//go:build !linux

package bench

import (
	"context"
	"errors"
	"runtime"
	"time"

	"shardnet/driver"
)

// errLinux: without AF_XDP and network namespaces there is Config.Memory.
var errLinux = errors.New("AF_XDP is Linux's: use shardnet bench --mem")

func newLab(*Config, int) (place, error)                         { return nil, errLinux }
func openInterface(*ServerConfig) (driver.Device, error)         { return nil, errLinux }
func startPeer(context.Context, *ServerConfig) (*running, error) { return nil, errLinux }
func coreUse(int) (coreTime, error)                              { return coreTime{}, errLinux }
func processCPU(int) (time.Duration, error)                      { return 0, errLinux }
func residentBytes(int) (uint64, error)                          { return 0, errLinux }
func kernelBytes() (uint64, error)                               { return 0, errLinux }
func pinProcess(int) (undo func() error, err error)              { return nil, errLinux }
func openFiles() (int, error)                                    { return 0, errLinux }
func pinThread(int) error                                        { return errLinux }
func yieldCPU()                                                  { runtime.Gosched() }

func allowedCPUs() (cpus []int, err error) {
	for i := range runtime.NumCPU() {
		cpus = append(cpus, i)
	}
	return cpus, nil
}
