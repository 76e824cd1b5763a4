package bench

import (
	"errors"

	"shardnet/stack"
)

// errNoHandler tells that the event API is not in this build.
var errNoHandler = errors.New("the event API is not there yet")

// serveEvents serves the app by events, without goroutines.
func serveEvents(*ServerConfig, *stack.Stack) (*running, error) {
	return nil, errNoHandler
}
