package memnic_test

import (
	"fmt"
	"log"

	"shardnet/driver"
	"shardnet/driver/memnic"
)

// A frame is sent from one end and answered in place at the other.
func ExampleNewPair() {
	a, b, err := memnic.NewPair(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()
	defer b.Close()

	qa, qb := a.Queue(0), b.Queue(0)
	fs := make([]driver.Frame, 1)

	qa.Alloc(fs)
	fs[0].Data = append(fs[0].Data, "toBBBBfromAA\x88\xb5ping"...)
	qa.Transmit(fs)
	qa.Flush()

	qb.Wait(-1)
	qb.Receive(fs)
	fmt.Printf("B got %q\n", fs[0].Data[14:])
	copy(fs[0].Data, "toAAAAfromBB\x88\xb5pong")
	qb.Transmit(fs)
	qb.Flush()

	qa.Wait(-1)
	qa.Receive(fs)
	fmt.Printf("A got %q\n", fs[0].Data[14:])
	qa.Release(fs)
	// Output:
	// B got "ping"
	// A got "pong"
}
