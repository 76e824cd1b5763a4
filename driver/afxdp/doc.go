// Package afxdp is the native AF_XDP driver: the four rings of each queue, in this
// process's memory, on golang.org/x/sys/unix.
//
//	dev, err := afxdp.Open(&afxdp.Config{
//		Interface: "eth1",
//		Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.0.2/24")},
//	})
//	if err != nil {
//		return err // one line; errors.Is(err, afxdp.ErrProgramExists) and so on
//	}
//	defer dev.Close()
//
// An XDP program redirects what is addressed to Config.Addresses, with ARP and
// NDP for them, to the queues; everything else goes on to the kernel. The program
// hangs on a bpf_link: whatever ends the process, the interface is the kernel's
// again. Info().Mode says how frames pass: native or generic XDP, zero-copy or
// copied by the kernel; never less than what was asked for.
//
// # Rings
//
// Each queue has a UMEM, the memory of its frames, and four rings between it and
// the kernel (Documentation/networking/af_xdp.rst):
//
//	fill        empty frames, to receive into   written here, read by the kernel
//	RX          received frames                 written by the kernel, read here
//	TX          frames to send                  written here, read by the kernel
//	completion  frames that were sent           written by the kernel, read here
//
// The UMEM is memory of the Go heap: the collector does not move it, the kernel
// holds its pages while the socket is open, and it lives as long as anybody holds
// a frame of it. So a frame kept after Close is stale, never a fault.
//
// # Jumbo frames
//
// A descriptor is about one chunk of UMEM, a page at most, of which the kernel
// keeps 256 bytes free. Where the MTU needs more (above 3822) the socket asks for
// packets in several descriptors (XDP_USE_SG, XDP_PKT_CONTD; Linux 6.6) and the
// queue's frames are of two kinds:
//
//	a chunk            is received into, and lent as it is if a packet is in one
//	a run of chunks    is what Alloc lends; a packet that came in several chunks
//	                   is copied together into one
//
// A run is one piece of UMEM, so it is sent from where it is, without a copy,
// with a descriptor a chunk: all of them or, when the ring is too full, none.
// Packets up to 3840 bytes are never copied. At smaller MTUs there are no runs,
// and nothing of the kernel is asked for that older ones have not.
//
// The package does not look into frames, and knows no protocol above Ethernet.
package afxdp
