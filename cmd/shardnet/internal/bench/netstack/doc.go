// Package netstack is what shardnet is measured beside: gVisor's netstack as it
// comes, on the same driver.Queue as our own stack.
//
// As it comes means a tcpip stack with its own clock, its own TCP processor
// goroutines and its default buffers, sockets by gonet, and a link endpoint as a
// program that embeds netstack writes it: one goroutine receives and delivers,
// and sends what writers left in a list. Nothing of package stack is used, and
// nothing is tuned that a user of netstack would not tune.
//
//	n, err := netstack.New(dev.Queue(0), dev.Info(), netip.MustParsePrefix("198.18.0.2/24"))
//	if err != nil {
//		return err
//	}
//	defer n.Close()
//	l, err := n.Listen(7)
//	...
//	go echo.NewServer().ServeTCP(l)
//
// It is a baseline for measurements and no more: one queue, no offloads, no
// routes beyond the address's subnet.
package netstack
