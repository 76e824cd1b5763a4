package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// peerTimeout bounds the wait for somebody else's server to listen.
const peerTimeout = 10 * time.Second

// startPeer runs somebody else's program, and returns once it listens. The
// program inherits this process's namespace and CPU, and dies with it.
func startPeer(ctx context.Context, cfg *ServerConfig) (*running, error) {
	cmd := exec.Command(cfg.Command[0], cfg.Command[1:]...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = time.Second
	// The parent's death, for the kernel, is that of the thread which started the
	// child: so that is one which lives as long as the child does.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	deadline := time.NewTimer(peerTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	kill := func() error {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
		return nil
	}
	for !listens(cmd.Process.Pid, cfg.Port) {
		select {
		case err := <-ended:
			return nil, fmt.Errorf("%s ended before it listened: %w: %s", cfg.Command[0], orNil(err), strings.TrimSpace(said.String()))
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), kill())
		case <-deadline.C:
			return nil, errors.Join(fmt.Errorf("%s does not listen on port %d after %v", cfg.Command[0], cfg.Port, peerTimeout), kill())
		case <-tick.C:
		}
	}
	failed := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		failed <- fmt.Errorf("%s ended: %w", cfg.Command[0], orNil(<-ended))
	}()
	return &running{
		mode: "sockets", pid: cmd.Process.Pid, failed: failed,
		close: func() error {
			_ = cmd.Process.Kill() // it may have ended
			<-done
			return nil
		},
	}, nil
}

// orNil is err, or an error that says that there was none.
func orNil(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// listens reports whether a socket in the namespace of the process listens on the
// TCP port, or is bound to the UDP port and to no peer.
func listens(pid int, port uint16) bool {
	const (
		tcpListen = "0A" // include/net/tcp_states.h
		udpClose  = "07" // an unconnected UDP socket's state
	)
	local := fmt.Sprintf(":%04X", port)
	for table, state := range map[string]string{"tcp": tcpListen, "tcp6": tcpListen, "udp": udpClose, "udp6": udpClose} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue
		}
		for l := range strings.Lines(string(b)) {
			f := strings.Fields(l) // sl local_address rem_address st ...
			if len(f) > 3 && strings.HasSuffix(f[1], local) && f[3] == state {
				return true
			}
		}
	}
	return false
}
