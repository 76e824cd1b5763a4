// Package preflight finds out, before a driver opens anything, why opening would
// fail, and says it in one line a user can act on. Both AF_XDP drivers use it;
// the errors are theirs to export.
//
// [Check] does all of it:
//
//	link, err := preflight.Check(preflight.Request{
//		Interface:   "eth1",
//		Addresses:   addrs,
//		LockedBytes: func(queues int) int { return queues * umemSize },
//	})
//
// It only looks: it changes nothing, and what it finds may have changed when the
// driver comes to it. A driver still handles every error of its own calls;
// [BindError] puts those of binding an AF_XDP socket into words.
//
// [Queue] and [FrameSize] are the limits AF_XDP sets.
//
// Everything is about the network namespace of the calling thread.
package preflight
