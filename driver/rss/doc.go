// Package rss computes receive-side scaling: which queue a NIC puts a packet in.
//
// A [Hasher] is the Toeplitz hash under one key, of addresses, of addresses and
// ports, or of a whole frame as a NIC classifies it. A [Table] maps a hash to a
// queue. [Steering] joins the two: it is what a stack needs to tell where the
// answers to a connection will come in, and what a NIC made of software needs to
// spread its packets.
//
// Everything here is a pure function of its arguments: no state, no system
// calls, no allocation after construction, safe for use from many goroutines.
// It sets no NIC's key or table; it computes with those the NIC has. It imports
// the standard library and driver/wire alone.
//
//	s, err := rss.New(info.RSS.Key, info.RSS.Table)
//	if err != nil {
//		return err
//	}
//	queue := s.QueueOfFlow(remote, local) // where remote's packets to local come in
//
// Sources: Microsoft, "RSS hashing types" and "Verifying the RSS hash
// calculation" (Windows driver documentation); H. Krawczyk, "LFSR-based Hashing
// and Authentication" (1994); S. Woo and K. Park, "Scalable TCP Session
// Monitoring with Symmetric Receive-side Scaling" (2012).
package rss
