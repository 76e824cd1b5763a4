package e2e

import (
	"fmt"
	"os"
	"testing"

	"shardnet/driver/afxdp"
	"shardnet/stack"
)

// cleanups is a testing.TB whose cleanups run when told, not at the end of the
// test.
type cleanups struct {
	testing.TB
	list []func()
}

func (c *cleanups) Helper()          {}
func (c *cleanups) Cleanup(f func()) { c.list = append(c.list, f) }
func (c *cleanups) Fatal(v ...any)   { panic(fmt.Sprint(v...)) }

func (c *cleanups) run() {
	for i := len(c.list) - 1; i >= 0; i-- {
		c.list[i]()
	}
}

// exitTB is a testing.TB for the server that is to be killed.
type exitTB struct{ testing.TB }

func (exitTB) Helper()          {}
func (exitTB) Cleanup(f func()) {}
func (exitTB) Fatal(v ...any) {
	fmt.Println(v...)
	os.Exit(1)
}

// openHere starts a stack on an interface of this process's namespace.
func openHere(iface string, cfg *stack.Config) (*stack.Stack, error) {
	dev, err := afxdp.Open(&afxdp.Config{Interface: iface, Addresses: stackConfig().Addresses})
	if err != nil {
		return nil, err
	}
	return stack.New(dev, cfg)
}
