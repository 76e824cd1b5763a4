// Package pcap records what a driver's queues receive and transmit, in pcapng.
//
// [Wrap] puts itself between a [driver.Device] and its user. Every queue becomes
// one pcapng interface, named "shard 0", "shard 1" and so on, of link type
// Ethernet with nanosecond timestamps, and each frame says in its epb_flags
// whether it came in or went out (tshark: frame.packet_flags_direction).
//
//	f, err := os.Create("traffic.pcapng")
//	...
//	dev, err = pcap.Wrap(dev, f, &pcap.Options{CloseWriter: true})
//	...
//	err = dev.Close() // the capture is complete when this returns
//
// # What it owns
//
// The wrapper owns the wrapped device from a successful Wrap on, and closes it
// in Close. It owns the writer only with Options.CloseWriter.
//
// # How a slow writer is kept off the data path
//
// A shard must not stand still because a disk or a pipe does. So the owner of a
// queue only copies the frame into a ring of bytes, allocated when the capture
// starts, and one goroutine takes the frames out of all rings in the order of
// their timestamps and writes them. A frame that finds the ring full is not
// captured; it is counted, and the count is in [Counts], in the interface
// statistics at the end of the file (capinfos, isb_ifdrop) and in the warning
// that Close gives to Options.Logger. A lock shared by the queues and held
// while writing would lose nothing, but would make every shard as slow as the
// slowest write, and would couple shards that share nothing else.
//
// # What a capture shows
//
// Timestamps are read once a batch, when the batch is received or transmitted:
// frames of one batch carry the same time. Frames of one queue are in the file
// in the order of the calls, and frames of one call in their order in it; a call
// that ended before another began, on whatever queue, comes first, unless the
// clock was set back. What Transmit took is captured as outgoing, also when the
// device then found it unsendable (Stats.TxErrors); what Transmit left with the
// caller is not, and neither is an empty frame. Checksums are as the device has
// them: over veth a kernel peer leaves them unfilled.
//
// Not here: filters, several files, rotation. Pipe the capture into a tool that
// has them.
package pcap
