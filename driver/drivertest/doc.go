// Package drivertest holds every driver to the contract of package driver.
//
// [Run] is the conformance suite. A driver's test gives it a function that opens
// two devices cabled together, and passes when the suite does:
//
//	func TestConformance(t *testing.T) {
//		drivertest.Run(t, func(t *testing.T, cfg drivertest.Config) drivertest.Pair {
//			a, b, err := memnic.NewPair(...)
//			if err != nil {
//				t.Fatal(err)
//			}
//			return drivertest.Pair{A: a, B: b}
//		})
//	}
//
// [Guard] wraps a device and watches its user: who gives a frame back twice,
// transmits one that was released, lends memory it does not own, or makes calls
// from two goroutines at once is reported with the stack of the call and that of
// the first give-back. It watches the device too: a frame lent twice, or two lent
// frames that share memory. The suite runs on guarded devices, and tests of what
// lies above the driver may do so as well:
//
//	st, err := stack.New(drivertest.Guard(t, dev), nil)
//
// The suite tests no speed and sends no traffic that a network would notice: its
// packets are UDP between the two addresses of Config.
package drivertest
