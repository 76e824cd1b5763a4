//go:build linux && amd64

package asavie

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/asavie/xdp"
	"golang.org/x/sys/unix"

	"shardnet/driver/internal/xskqueue"
)

// The library maps four rings for each socket and forgets where: it never
// unmaps them, and a mapping holds the socket, and with it the NIC's queue,
// after the descriptor is closed. /proc/self/maps remembers: a ring's line has
// the socket's inode, and the ring's kind as its offset.
//
//	7f0dc0a1b000-7f0dc0a24000 rw-s 100000000 00:08 47711   socket:[47711]

// mapping is one ring's mapping.
type mapping struct {
	start, end uintptr
	offset     uint64 // says which ring
	inode      uint64
}

// ringMaps are the lengths of the mappings the library makes, by offset.
type ringMaps map[uint64]int

// newRingMaps returns the lengths as xdp.NewSocket computes them. It needs a
// socket to ask the kernel for the rings' layout, and is the first call to find
// out that there is no AF_XDP.
func newRingMaps(opts xdp.SocketOptions) (ringMaps, error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open AF_XDP socket: %w", err)
	}
	defer unix.Close(fd)
	off, err := xskqueue.MmapOffsets(fd)
	if err != nil {
		return nil, err
	}
	const addrSize, descSize = 8, 16 // struct xdp_desc
	return ringMaps{
		unix.XDP_PGOFF_RX_RING:              int(off.Rx.Desc) + opts.RxRingNumDescs*descSize,
		unix.XDP_PGOFF_TX_RING:              int(off.Tx.Desc) + opts.TxRingNumDescs*descSize,
		unix.XDP_UMEM_PGOFF_FILL_RING:       int(off.Fr.Desc) + opts.FillRingNumDescs*addrSize,
		unix.XDP_UMEM_PGOFF_COMPLETION_RING: int(off.Cr.Desc) + opts.CompletionRingNumDescs*addrSize,
	}, nil
}

// find returns all mappings of this process that may be AF_XDP rings.
func (r ringMaps) find() ([]mapping, error) {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil, fmt.Errorf("look for mapped rings: %w", err)
	}
	defer f.Close()
	var maps []mapping
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if m, ok := parseMapping(lines.Text()); ok && r[m.offset] != 0 {
			maps = append(maps, m)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("look for mapped rings: %w", err)
	}
	return maps, nil
}

// parseMapping reads one line of /proc/self/maps.
func parseMapping(line string) (mapping, bool) {
	f := strings.Fields(line)
	if len(f) != 6 || !strings.HasPrefix(f[5], "socket:[") {
		return mapping{}, false
	}
	from, to, _ := strings.Cut(f[0], "-")
	start, err1 := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	offset, err3 := strconv.ParseUint(f[2], 16, 64)
	inode, err4 := strconv.ParseUint(f[4], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || end <= start {
		return mapping{}, false
	}
	return mapping{start: uintptr(start), end: uintptr(end), offset: offset, inode: inode}, true
}

// unmapSocket unmaps the rings of the socket with the given inode.
func (r ringMaps) unmapSocket(inode uint64) error {
	maps, err := r.find()
	if err != nil {
		return err
	}
	for _, m := range maps {
		if m.inode == inode {
			if err := m.unmap(r[m.offset]); err != nil {
				return err
			}
		}
	}
	return nil
}

// unmapOrphans unmaps rings that were not mapped before and whose socket no
// descriptor of the process refers to.
func (r ringMaps) unmapOrphans(before []mapping) error {
	known := make(map[uint64]bool)
	for _, m := range before {
		known[m.inode] = true
	}
	maps, err := r.find()
	if err != nil {
		return err
	}
	// Descriptors after mappings: a socket opened elsewhere in between has one.
	open, err := socketInodes()
	if err != nil {
		return err
	}
	for _, m := range maps {
		if !known[m.inode] && !open[m.inode] {
			if err := m.unmap(r[m.offset]); err != nil {
				return err
			}
		}
	}
	return nil
}

// socketInodes returns the inodes of all sockets the process has descriptors of.
func socketInodes() (map[uint64]bool, error) {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, fmt.Errorf("look for open sockets: %w", err)
	}
	inodes := make(map[uint64]bool)
	for _, fd := range fds {
		link, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err != nil {
			continue // closed meanwhile
		}
		text, ok := strings.CutPrefix(link, "socket:[")
		if !ok {
			continue
		}
		if inode, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 64); err == nil {
			inodes[inode] = true
		}
	}
	return inodes, nil
}
