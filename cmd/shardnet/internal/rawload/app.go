package rawload

// app is what runs on the connections of a workload. Its methods are called from
// the loop; i is c's index.
type app interface {
	// opened is called when c is established.
	opened(i int, c *conn)
	// received takes the next bytes of c's stream, and returns what is wrong with
	// them, "" if nothing. A connection with wrong bytes is reset.
	received(i int, c *conn, b []byte) string
	// fill writes to b what c's stream holds at sequence number seq.
	fill(i int, c *conn, seq uint32, b []byte)
	// acked is told that n more sequence numbers are acknowledged.
	acked(i int, c *conn, n uint32)
	// ended is called once when c is gone: after an orderly close by this side, or
	// otherwise (not orderly).
	ended(i int, c *conn, orderly bool)
}
