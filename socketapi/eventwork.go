package socketapi

// Post runs f on c's shard, with c, unless c is closed by then. It may be called
// from any goroutine. Afterwards, input that was not consumed is offered again.
//
// Functions run in the order they were posted. Once the stack has ended they are
// dropped, as those of Shard.Post are.
func (c *EventConn) Post(f func(c *EventConn)) {
	c.loop.sh.Post(&postedTask{c: c, f: f})
}

// Go runs blocking work off the shard, on a goroutine of its own. The function that
// work returns, unless nil, then runs on the shard, where it may use c. It does not
// run if c was closed meanwhile. work itself may use neither c nor the data of the
// callback.
//
// A connection whose peer has sent its FIN stays open until its work is done. On
// a connection that is closed or being closed, Go does nothing.
func (c *EventConn) Go(work func() (back func(c *EventConn))) {
	if c.state&connEnding != 0 {
		return
	}
	c.extraState().work++
	go func() {
		c.loop.sh.Post(&postedTask{c: c, f: work(), work: true})
	}()
}

// postedTask is a function to run on a connection's loop.
type postedTask struct {
	c    *EventConn
	f    func(c *EventConn)
	work bool // it comes back from Go
}

// RunOnShard implements stack.Task.
func (t *postedTask) RunOnShard() {
	c := t.c
	if t.work {
		c.extra.work--
	}
	if c.state&connEnding != 0 {
		return
	}
	c.loop.startRun()
	if t.f != nil {
		t.f(c)
	}
	c.offer()
	if t.work {
		c.markDirty() // it may have been the last that kept the connection open
	}
	c.loop.runDirty()
}

// String names the handler.
func (t *postedTask) String() string { return t.c.loop.String() }
