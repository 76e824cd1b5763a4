package socketapi

import (
	"testing"

	"shardnet/test/testutil"
)

// TestMain fails the run when goroutines or descriptors are left over: nothing here
// may outlive the socket or the stack it belonged to.
func TestMain(m *testing.M) { testutil.Main(m) }
