// Package load makes requests of echo and memcached servers and verifies every
// answer.
//
// A [Workload] is a protocol's client; [Run] opens many connections of one
// workload, keeps one request under way on each, and measures how long answers
// take. It takes any way to dial, so the same load runs over kernel sockets and
// over a stack of our own.
//
//	res := load.Run(ctx, load.Config{
//		Workload:  load.EchoTCP,
//		Dial:      (&net.Dialer{}).DialContext,
//		Addresses: []string{"198.18.0.2:7"},
//		Conns:     256,
//		Duration:  2 * time.Second,
//	})
//	if err := res.Err(); err != nil {
//		return err
//	}
//
// It is a closed loop: a slow server is asked less. It does not look for the most
// a server can do, nor correct for what it did not ask meanwhile.
package load
