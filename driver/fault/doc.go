// Package fault makes a driver's queues as bad as a real network: frames are
// dropped, duplicated, reordered, corrupted, delayed and squeezed through a
// bottleneck, on receive, on transmit or on both.
//
//	cfg, err := fault.Parse("drop=1%,reorder=2%,delay=5ms,seed=7")
//	...
//	dev, err = fault.Wrap(dev, cfg)
//
// # Determinism
//
// Every queue, direction and kind of fault has its own random stream, made from
// Config.Seed. Whether the n-th frame of a queue is dropped depends on the seed
// and n alone: not on what the other queues do, and not on whether frames are
// also corrupted. What depends on time (delay, rate, and the frames lost to a
// full bottleneck) is as repeatable as Config.Now.
//
// # A frame's way
//
//	drop ─▶ corrupt ─▶ duplicate ─▶ reorder ─▶ bottleneck ─▶ delay
//
// The bottleneck sends at Config.Rate and has room for Config.Queue frames; what
// finds it full is lost. A reordered frame waits until Config.Distance later
// frames have overtaken it. Sizes are of the frame as the driver sees it,
// without preamble, FCS and gap.
//
// # Ownership
//
// A received frame that is held back is still lent from the inner queue, and one
// to be transmitted late is not given to it yet: both count as held by the
// wrapper, not by the caller, in Stats. At most Config.Limit frames are held in
// each direction of a queue; further ones are lost and counted. A duplicate is a
// frame from the inner queue's Alloc; when there is none, there is no duplicate,
// counted too. Close gives everything back, unsent.
//
// # What it is not
//
// Frames arrive when the owner calls Receive, which is when their delay starts;
// a queue nobody polls does not age. A rate is each queue's own: the wrapper has
// no state that queues share. A direction without faults is passed through
// untouched.
package fault
