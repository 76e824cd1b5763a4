package stack

import "shardnet/stack/flow"

type (
	Flow            = flow.Flow
	Listener        = flow.Listener
	PacketFlow      = flow.PacketFlow
	Events          = flow.Events
	Task            = flow.Task
	SegmentHandler  = flow.SegmentHandler
	DatagramHandler = flow.DatagramHandler
	Datagram        = flow.Datagram
	SocketOptions   = flow.SocketOptions
	Transport       = flow.Transport
)

const (
	Readable          = flow.Readable
	Writable          = flow.Writable
	Closed            = flow.Closed
	TransportDefault  = flow.TransportDefault
	TransportFast     = flow.TransportFast
	TransportNetstack = flow.TransportNetstack
)

var ErrWouldBlock = flow.ErrWouldBlock
