package stack

import (
	"errors"
	"slices"
	"time"
)

// Close ends the stack in order: sockets that listen are closed, connections get
// their FIN and up to Config.CloseTimeout to finish, what is left is reset, the
// loops end, the device is closed. It returns the device's error, or why the
// stack had failed. Later and concurrent calls wait for the first and return nil.
func (st *Stack) Close() error {
	first := false
	st.closeOnce.Do(func() { first = true })
	if !first {
		<-st.closed
		return nil
	}
	defer close(st.closed)
	st.mu.Lock()
	close(st.closing)
	sockets := st.sockets
	st.sockets = nil
	failed := st.err
	st.mu.Unlock()
	st.dialing.Lock() // no dial that began before is left
	//lint:ignore SA2001 later ones see closing
	st.dialing.Unlock()
	for s := range sockets {
		s.Close()
	}
	if failed == nil {
		st.finishConnections()
	}
	st.abortConnections()
	if failed == nil {
		st.refuseStragglers()
	}
	for _, sh := range st.shards {
		sh.stop()
	}
	for _, sh := range st.shards {
		sh.destroy()
	}
	return errors.Join(failed, st.dev.Close())
}

// finishConnections closes every connection and waits until their peers have closed too, or
// CloseTimeout.
func (st *Stack) finishConnections() {
	for _, sh := range st.shards {
		sh.netstack.CloseConnections()
		sh.engine.CloseConnections()
		sh.kick()
	}
	deadline := time.Now().Add(st.cfg.CloseTimeout)
	for pause := time.Millisecond; time.Now().Before(deadline); pause = min(2*pause, 20*time.Millisecond) {
		open := 0
		for _, sh := range st.shards {
			open += sh.netstack.Connections() + sh.engine.Connections()
		}
		if open == 0 {
			return
		}
		time.Sleep(pause)
	}
}

// abortConnections resets what is left.
func (st *Stack) abortConnections() {
	for _, sh := range st.shards {
		sh.netstack.AbortConnections()
		sh.engine.AbortConnections()
		sh.kick()
	}
}

// Until the peers have been silent for drainSilence, or for maxDrain in all, a stack that
// closes goes on refusing what they still send: a peer whose handshake was under way, or
// whose last segment was, is told that nobody is here any more.
const (
	drainSilence = 30 * time.Millisecond
	maxDrain     = 500 * time.Millisecond
)

// refuseStragglers waits until the peers are silent.
func (st *Stack) refuseStragglers() {
	deadline := time.Now().Add(maxDrain)
	heard, since := st.Stats().RxPackets, time.Now()
	for time.Since(since) < drainSilence && time.Now().Before(deadline) {
		time.Sleep(drainSilence / 10)
		busy := slices.ContainsFunc(st.shards, func(sh *Shard) bool { return sh.tx.Waiting() || sh.engine.Deferred() })
		if n := st.Stats().RxPackets; n != heard || busy {
			heard, since = n, time.Now()
		}
	}
}
