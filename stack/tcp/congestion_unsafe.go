package tcp

import "unsafe"

// ccState is the memory of a connection's congestion control: a union. The engine's
// algorithm reads it as a struct of its own, which is zero at first, fits, and has
// no pointers, as the garbage collector finds none here.
type ccState [6]uint64

// Each state fits: the size of an array is not negative.
var (
	_ [unsafe.Sizeof(ccState{}) - unsafe.Sizeof(lossState{})]byte
	_ [unsafe.Sizeof(ccState{}) - unsafe.Sizeof(cubicState{})]byte
)

// loss is the part that Reno and CUBIC share. It comes first in cubicState.
func (s *ccState) loss() *lossState   { return (*lossState)(unsafe.Pointer(s)) }
func (s *ccState) cubic() *cubicState { return (*cubicState)(unsafe.Pointer(s)) }
