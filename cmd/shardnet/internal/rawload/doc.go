// Package rawload is the load generator of "shardnet bench": clients without a
// kernel. It makes and reads raw Ethernet frames on one driver.Queue, on one
// goroutine that runs to completion, so that what it measures is the server.
//
//	g, err := rawload.New(rawload.Config{
//		Queue:   dev.Queue(0),
//		Info:    dev.Info(),
//		Sources: []netip.Addr{netip.MustParseAddr("198.18.0.1")},
//		Target:  netip.MustParseAddrPort("198.18.0.2:7"),
//	})
//	if err != nil {
//		return err
//	}
//	defer g.Close()
//	r, err := g.Run(ctx, rawload.Work{Kind: rawload.UDPEcho, Window: 64, Payload: 64, Duration: time.Second})
//
// # What it is
//
// A turn of the loop reads the clock once, receives up to 64 frames, answers what
// they ask for, sends what is due, and rings the doorbell once. Frames are made
// from header templates; each checksum is computed over the payload alone, on top
// of a sum that is known beforehand. Connections lie in one array, found by source
// address and port through a flat table. Nothing is allocated while it runs.
//
// Every answer is checked byte for byte. Streams and values are cut from a table
// of random bytes, at places that follow from connection, offset and key: what
// was sent need not be kept, neither to send it again nor to check its echo.
//
// Its TCP is a client's, and minimal: window scaling but no SACK and no
// timestamps; segments out of order are dropped and asked for again; the
// retransmission timeout is fixed, with back-off; TIME_WAIT is answered without
// state.
//
// [Reflect] is the other end with no stack at all: the limit that servers are
// compared with.
//
// # What it is not
//
// It opens no device and makes no network, has no routes (the target is on the
// link), and sends no fragments. It owns neither queue nor device.
package rawload
