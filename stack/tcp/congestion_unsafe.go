package tcp

import "unsafe"

// ccState is the state that the engine's algorithm keeps of a connection: a union. Each
// algorithm reads it as a struct of its own, which is zero at first. The struct must fit, and
// have no pointers, as the garbage collector does not look for any here.
type ccState [6]uint64

// Each state fits: the size of an array is not negative.
var (
	_ [unsafe.Sizeof(ccState{}) - unsafe.Sizeof(lossState{})]byte
	_ [unsafe.Sizeof(ccState{}) - unsafe.Sizeof(cubicState{})]byte
)

// loss is the part that Reno and CUBIC share. It comes first in cubicState.
func (s *ccState) loss() *lossState   { return (*lossState)(unsafe.Pointer(s)) }
func (s *ccState) cubic() *cubicState { return (*cubicState)(unsafe.Pointer(s)) }
