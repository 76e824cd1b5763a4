package bench

import (
	"encoding/json"
	"time"
)

// A server is a process of its own, told what to do by lines on its standard
// input and answering each with a line of JSON on its standard output. The first
// line it says by itself. It ends with its input, and so with the process that
// started it.

// What a server is told.
const (
	tellStats   = "stats"   // answer with a stats
	tellSettle  = "settle"  // collect garbage, give memory back, then as stats
	tellProfile = "profile" // then a file's name: profile the CPU from now on
	tellQuit    = "quit"    // stop serving, write the profile, answer with a stats, end
)

// ready is the first line of a server.
type ready struct {
	Mode string `json:"mode"` // what is truly in force, for people
	PID  int    `json:"pid"`  // of the process whose CPU and memory count
}

// stats are a server's own counters since it was started. For a server that is
// somebody else's program all but the first are zero.
type stats struct {
	CPU     time.Duration `json:"cpu"`     // time that the process has had, a peer's too
	Mallocs uint64        `json:"mallocs"` // objects allocated on the heap
	GCs     uint64        `json:"gcs"`     // garbage collections ended
	Heap    uint64        `json:"heap"`    // bytes of objects, dead ones not yet swept among them
	// Counters are those of our stack, of all shards, and of the app.
	Counters map[string]uint64 `json:"counters,omitempty"`
	Err      string            `json:"err,omitempty"` // what went wrong, if not empty
}

func line(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(b, '\n'), err
}
