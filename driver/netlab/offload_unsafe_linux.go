package netlab

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offload is a feature of an interface that can be turned on and off: the
// ethtool command that sets it.
type Offload uint32

// The offloads of interest to a test: see "ethtool -K".
const (
	TxChecksum Offload = unix.ETHTOOL_STXCSUM
	TSO        Offload = unix.ETHTOOL_STSO
	GSO        Offload = unix.ETHTOOL_SGSO
	GRO        Offload = unix.ETHTOOL_SGRO
)

// ethtoolValue is struct ethtool_value of linux/ethtool.h.
type ethtoolValue struct {
	cmd  uint32
	data uint32
}

// ifreqData is struct ifreq of linux/if.h with ifr_data in use.
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// SetOffload turns an offload on or off.
func (i *Interface) SetOffload(o Offload, on bool) error {
	value := ethtoolValue{cmd: uint32(o)}
	if on {
		value.data = 1
	}
	req := ifreqData{data: unsafe.Pointer(&value)}
	copy(req.name[:unix.IFNAMSIZ-1], i.Name)
	return i.Host.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open socket for ethtool: %w", err)
		}
		defer unix.Close(fd)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
		if errno != 0 {
			return fmt.Errorf("set offload %#x of %s: %w", uint32(o), i.Name, errno)
		}
		return nil
	})
}
