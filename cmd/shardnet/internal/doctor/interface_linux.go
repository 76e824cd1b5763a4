package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// pageMTU is the largest MTU whose frames fit into a page: it also holds the
// kernel's headroom (XDP_PACKET_HEADROOM), the Ethernet header and a VLAN tag. A
// NIC's driver may allow less with an XDP program. maxMTU is the afxdp driver's,
// of frames in three pages.
const (
	pageMTU = 4096 - 256 - 14 - 4
	maxMTU  = 3*(4096-256) - 14 - 4
)

// attachModes names IFLA_XDP_ATTACHED of linux/if_link.h.
var attachModes = map[uint32]string{1: "native", 2: "generic", 3: "offloaded", 4: "several modes"}

// Interface looks at a network interface.
func Interface(name string) []Finding {
	const subject = "interface"
	link, err := netlink.LinkByName(name)
	if notFound := (netlink.LinkNotFoundError{}); errors.As(err, &notFound) {
		return []Finding{{Fail, subject, fmt.Sprintf("there is no %q", name), "see ip link, and whether it is in this network namespace"}}
	}
	if err != nil {
		return []Finding{{Fail, subject, fmt.Sprintf("%s can't be looked at: %v", name, err), "see ip link"}}
	}
	at := link.Attrs()
	found := []Finding{state(at), nicDriver(name), queues(at), mtu(at), xdpProgram(at)}
	return found
}

func state(at *netlink.LinkAttrs) Finding {
	f := Finding{Level: OK, Subject: "interface", Text: fmt.Sprintf("%s is up, %s", at.Name, at.HardwareAddr)}
	switch {
	case len(at.HardwareAddr) != 6:
		return Finding{Fail, f.Subject, fmt.Sprintf("%s is not Ethernet (%s)", at.Name, at.EncapType), "choose one that is"}
	case at.RawFlags&unix.IFF_UP == 0:
		return Finding{Fail, f.Subject, at.Name + " is down", "ip link set " + at.Name + " up"}
	case at.OperState != netlink.OperUp && at.OperState != netlink.OperUnknown:
		return Finding{Warn, f.Subject, fmt.Sprintf("%s has no carrier (%s)", at.Name, at.OperState), "plug it in"}
	}
	return f
}

func nicDriver(name string) Finding {
	const subject = "NIC driver"
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Finding{Warn, subject, "can't be asked: " + err.Error(), "see ethtool -i " + name}
	}
	defer unix.Close(fd)
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, name)
	if err != nil {
		return Finding{Warn, subject, "is not known: " + err.Error(), "without native XDP, --mode generic still works"}
	}
	return Finding{Level: OK, Subject: subject, Text: unix.ByteSliceToString(info.Driver[:])}
}

func queues(at *netlink.LinkAttrs) Finding {
	n := min(active(at, "rx", at.NumRxQueues), active(at, "tx", at.NumTxQueues))
	f := Finding{Level: OK, Subject: "queues", Text: fmt.Sprintf("%d, so as many shards; %d CPUs", n, runtime.NumCPU())}
	if n > runtime.NumCPU() {
		f.Level = Warn
		f.Remedy = fmt.Sprintf("shards will share CPUs: ethtool -L %s combined %d", at.Name, runtime.NumCPU())
	}
	return f
}

// active counts the queues in use, which sysfs lists if it is this network
// namespace's; the link's attribute tells how many there could be.
func active(at *netlink.LinkAttrs, kind string, could int) int {
	dir := filepath.Join("/sys/class/net", at.Name)
	index, err := os.ReadFile(filepath.Join(dir, "ifindex"))
	if err != nil || strings.TrimSpace(string(index)) != strconv.Itoa(at.Index) {
		return could
	}
	found, err := filepath.Glob(filepath.Join(dir, "queues", kind+"-*"))
	if err != nil || len(found) == 0 {
		return could
	}
	return len(found)
}

func mtu(at *netlink.LinkAttrs) Finding {
	switch {
	case at.MTU > maxMTU:
		return Finding{Fail, "MTU", fmt.Sprintf("%d does not fit into an XDP frame", at.MTU), fmt.Sprintf("ip link set %s mtu %d", at.Name, maxMTU)}
	case at.MTU > pageMTU:
		return Finding{Warn, "MTU", fmt.Sprintf("%d takes Linux 6.6, XDP multi-buffer in the NIC's driver, and --driver afxdp", at.MTU),
			fmt.Sprintf("ip link set %s mtu %d, if serving fails for it", at.Name, pageMTU)}
	}
	return Finding{Level: OK, Subject: "MTU", Text: fmt.Sprint(at.MTU)}
}

func xdpProgram(at *netlink.LinkAttrs) Finding {
	if at.Xdp == nil || !at.Xdp.Attached {
		return Finding{Level: OK, Subject: "XDP program", Text: "none in place"}
	}
	modes := attachModes[at.Xdp.AttachMode]
	return Finding{Fail, "XDP program", strings.TrimSpace(fmt.Sprintf("number %d is in place %s", at.Xdp.ProgId, modes)),
		fmt.Sprintf("end the program it belongs to (bpftool net, bpftool link), or: ip link set %s xdp off", at.Name)}
}
