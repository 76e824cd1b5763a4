// Package afxdp is the native AF_XDP driver: the four rings of each queue, in this
// process's memory, on golang.org/x/sys/unix.
//
//	dev, err := afxdp.Open(&afxdp.Config{
//		Interface: "eth1",
//		Addresses: []netip.Addr{netip.MustParseAddr("198.18.0.2")},
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
// The package does not look into frames, and knows no protocol above Ethernet.
package afxdp
