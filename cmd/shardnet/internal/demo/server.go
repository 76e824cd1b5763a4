package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"shardnet/cmd/shardnet/internal/runner"
)

// server is a running server, heard through its report in JSON.
type server struct {
	events  <-chan event
	finish  func()       // asks it to end; may be called twice
	wait    func() error // until it has ended, and why
	force   func()       // ends it now; harmless when it has ended
	timeout time.Duration
}

// event is any line of a server's report: the fields of all kinds.
type event struct {
	kind string
	raw  json.RawMessage
}

// listen reads a server's report until it ends. The channel has room for all that
// a server says, so that one nobody listens to is not held up.
func listen(r io.Reader) <-chan event {
	events := make(chan event, 16)
	go func() {
		defer close(events)
		dec := json.NewDecoder(r)
		for {
			var raw json.RawMessage
			if err := dec.Decode(&raw); err != nil {
				_, _ = io.Copy(io.Discard, r)
				return
			}
			var head struct {
				Event string `json:"event"`
			}
			if json.Unmarshal(raw, &head) == nil {
				events <- event{head.Event, raw}
			}
		}
	}()
	return events
}

// expect waits for the next event, which must be of the kind, and decodes it.
func (s *server) expect(kind string, into any) error {
	timer := time.NewTimer(s.timeout)
	defer timer.Stop()
	select {
	case e, ok := <-s.events:
		if !ok {
			s.finish()
			return errors.Join(s.wait(), fmt.Errorf("server ended before it was %s", kind))
		}
		if e.kind != kind {
			return fmt.Errorf("server is %s, not %s", e.kind, kind)
		}
		return json.Unmarshal(e.raw, into)
	case <-timer.C:
		return fmt.Errorf("server is not %s after %v", kind, s.timeout)
	}
}

// started waits for the start-up line.
func (s *server) started() (*runner.Start, error) {
	start := new(runner.Start)
	return start, s.expect("serving", start)
}

// checks waits for the n checks of a server that asks itself.
func (s *server) checks(n int) ([]Row, error) {
	var rows []Row
	for range n {
		var c runner.Check
		if err := s.expect("checked", &c); err != nil {
			return nil, err
		}
		rows = append(rows, Row{
			Workload: c.Workload, Connections: c.Connections, Requests: c.Requests,
			RequestsPerSecond: c.RequestsPerSecond, P50Micros: c.P50Micros, P99Micros: c.P99Micros,
			Lost: c.Lost, Errors: c.Errors,
		})
	}
	return rows, nil
}

// stop ends the server in order and returns its summary.
func (s *server) stop() (*runner.Summary, error) {
	s.finish()
	sum := new(runner.Summary)
	if err := s.expect("stopped", sum); err != nil {
		return nil, err
	}
	return sum, s.wait()
}

func (s *server) kill() { s.force() }
