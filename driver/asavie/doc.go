// Package asavie is the driver contract on github.com/asavie/xdp, the AF_XDP
// library many Go programs use. It is the second AF_XDP backend, beside
// driver/afxdp on native rings, and there to be measured against it.
//
//	dev, err := asavie.Open(&asavie.Config{
//		Interface: "eth1",
//		Addresses: []netip.Addr{netip.MustParseAddr("198.18.0.2")},
//	})
//
// # The library's traps, and what is done about them
//
// They are those of v0.3.3.
//
//   - Ring indices are loaded and stored plainly. That is enough where the
//     hardware keeps stores in order: so this package is for linux/amd64, and Open
//     says so elsewhere.
//   - GetDescs walks all frames, and hands out the same one twice. The queue has
//     a free list of its own. GetDescs serves one purpose: it is the only way to
//     learn which frames Complete has taken back. It is called for many
//     completions at once, or when frames are short.
//   - Transmit makes a system call each time, of which one moves 32 frames.
//     Frames therefore wait for Flush, which passes them on by 32.
//   - Transmit panics when sendto fails, as it does when the link goes down. The
//     panic is recovered and becomes driver.ErrLinkDown or driver.ErrDeviceGone;
//     the frames are in the ring by then, and stay there.
//   - Rings are never unmapped, neither by Close nor by a NewSocket that fails, so
//     that the NIC's queue stays taken while the process lives. They are found in
//     /proc/self/maps and unmapped, so that a queue can be opened again.
//   - Bind flags are a package variable, which is set for the time of the call and
//     put back. Errors hide their errno; it is found again, for errors.Is.
//   - Sockets are not close-on-exec; here they are.
//   - Poll can't be interrupted. Wait has a duplicate of the descriptor in the
//     runtime's poller, or in a poll(2) of its own: see
//     BlockThread of driver.Queue.
//   - Program.Attach removes whatever XDP program is on the interface. It is not
//     used: program and link are those of driver/internal/xdpprog.
//
// # What remains
//
// The library has no need-wakeup flag and no cached indices; each Flush with
// frames to send makes one system call for 32 of them. Memory of frames that are
// lent when a queue is closed stays mapped until the process ends.
package asavie
