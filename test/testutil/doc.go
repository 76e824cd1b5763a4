// Package testutil has what the tests of many packages need: a poll with a deadline,
// a check for goroutines and file descriptors that are left behind, and whether the
// race detector is at work. It imports the standard library alone, so the tests of
// every package can import it.
//
//	func TestMain(m *testing.M) { testutil.Main(m) }
//
//	func TestAccept(t *testing.T) {
//		...
//		testutil.Eventually(t, "the connection is counted", func() bool { return srv.Active() == 1 })
//	}
package testutil
