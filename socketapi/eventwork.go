package socketapi

// Post has f run on c's shard, with c, unless c is closed by then. It may be
// called from any goroutine. What was not consumed is offered again afterwards.
//
// Functions run in the order they were posted. Once the stack has ended they are
// dropped, as Shard.Post has it.
func (c *EventConn) Post(f func(c *EventConn)) {
	c.loop.sh.Post(&postedTask{c: c, f: f})
}

// Go runs work on a goroutine of its own, off the shard: for what takes long or
// blocks. The function that work returns, unless nil, then runs on the shard,
// where it may use c, unless c was closed meanwhile. work itself may not use c,
// nor what belongs to the callback's data.
//
// A connection whose peer has sent its FIN stays open until its work is done. On
// a connection that is closed or being closed, Go does nothing.
func (c *EventConn) Go(work func() (back func(c *EventConn))) {
	if c.state&connEnding != 0 {
		return
	}
	c.rare().work++
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
	c.loop.begin()
	if t.f != nil {
		t.f(c)
	}
	c.offer()
	if t.work {
		c.touch() // it may have been the last that kept the connection open
	}
	c.loop.settle()
}

// String names the handler.
func (t *postedTask) String() string { return t.c.loop.String() }
