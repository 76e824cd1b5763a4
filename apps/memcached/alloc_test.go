//go:build !race

// The race detector allocates on its own account.

package memcached

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// TestSessionAllocations: no request allocates, once the buffers are there.
func TestSessionAllocations(t *testing.T) {
	st := newStore(t, nil)
	s := newSession(t, st)
	body, large := strings.Repeat("v", 100), strings.Repeat("v", 100_000)
	say(t, s, "set k 7 0 100\r\n"+body+"\r\nset n 0 0 2\r\n10\r\nset large 0 0 100000\r\n"+large+"\r\n")
	i := 0
	for name, in := range map[string]string{
		"get hit":          "get k\r\n",
		"get miss":         "get none\r\n",
		"gets many":        "gets k k k none k\r\n",
		"get large":        "get large\r\n",
		"gat":              "gat 0 k\r\n",
		"set same size":    "set k 7 0 100\r\n" + body + "\r\n",
		"set other size":   "", // below
		"set large":        "set large 0 0 100000\r\n" + large + "\r\n",
		"add":              "add k 7 0 100\r\n" + body + "\r\n",
		"append":           "delete a\r\nset a 0 0 100\r\n" + body + "\r\nappend a 0 0 100\r\n" + body + "\r\n",
		"cas":              "cas k 7 0 100 1\r\n" + body + "\r\n",
		"incr":             "incr n 1\r\n",
		"decr":             "decr n 1\r\n",
		"touch":            "touch k 100\r\n",
		"delete and set":   "delete k\r\nset k 7 0 100\r\n" + body + "\r\n",
		"noreply":          "set k 7 0 100 noreply\r\n" + body + "\r\n",
		"meta":             "mg k v f c t k O1\r\nms m 3 c k\r\nabc\r\nma n v\r\nmd m q\r\nmn\r\n",
		"meta, binary key": "ms YmluYXJ5IQ== 2 b k\r\nhi\r\nmg YmluYXJ5IQ== b v k\r\n",
		"pipeline":         strings.Repeat("get k\r\nset k 7 0 100\r\n"+body+"\r\n", 50),
		"errors":           "nonsense\r\nset k\r\nincr k 1\r\nget " + strings.Repeat("l", 251) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			inputs := [2][]byte{[]byte(in), []byte(in)}
			if name == "set other size" {
				inputs[0] = fmt.Appendf(nil, "set k 7 0 200\r\n%s%s\r\n", body, body)
				inputs[1] = fmt.Appendf(nil, "set k 7 0 100\r\n%s\r\n", body)
			}
			out := make([]byte, 0, 256<<10)
			if n := testing.AllocsPerRun(200, func() {
				i++
				if n, _, _ := s.Process(inputs[i%2], out); n != len(inputs[i%2]) {
					t.Fatalf("consumed %d bytes", n)
				}
			}); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
	t.Run("in pieces", func(t *testing.T) {
		in := []byte("set large 0 0 100000\r\n" + large + "\r\n")
		out := make([]byte, 0, 100)
		if n := testing.AllocsPerRun(100, func() {
			for i := 0; i < len(in); i += 1400 {
				piece := in[i:min(i+1400, len(in))]
				if n, _, _ := s.Process(piece, out); n != len(piece) {
					t.Fatalf("consumed %d bytes", n)
				}
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// TestServerAllocations: nor does the server's part, over the kernel's sockets.
func TestServerAllocations(t *testing.T) {
	_, rig := start(t, newStore(t, nil), nil)
	c := rig.Dial(t, "tcp")
	set := []byte("set k 0 0 64\r\n" + strings.Repeat("v", 64) + "\r\n")
	get := []byte("get k\r\n")
	hit := "VALUE k 0 64\r\n" + strings.Repeat("v", 64) + "\r\nEND\r\n"
	buf := make([]byte, 2000)
	exchange := func(request []byte, reply string) {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf[:len(reply)]); err != nil || string(buf[:len(reply)]) != reply {
			t.Fatalf("got %q, %v", buf[:len(reply)], err)
		}
	}
	if n := testing.AllocsPerRun(300, func() { exchange(set, "STORED\r\n"); exchange(get, hit) }); n != 0 {
		t.Errorf("TCP: %v allocations", n)
	}
	u := rig.Dial(t, "udp")
	datagram := append([]byte{1, 2, 0, 0, 0, 1, 0, 0}, get...)
	if n := testing.AllocsPerRun(300, func() {
		if _, err := u.Write(datagram); err != nil {
			t.Fatal(err)
		}
		if n, err := u.Read(buf); err != nil || string(buf[8:n]) != hit {
			t.Fatalf("got %q, %v", buf[:n], err)
		}
	}); n != 0 {
		t.Errorf("UDP: %v allocations", n)
	}
}
