package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// answerTimeout bounds how long a server takes to start, to end, or to answer. On
// its core it may be busy with a load that was just ended, or have to look for
// garbage on hundreds of thousands of stacks.
const answerTimeout = time.Minute

// process is a server in a process of its own, on a CPU of its own.
type process struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers chan []byte
	ended   chan struct{} // closed when it has ended, and err is set
	err     error
	stderr  *tail
	ready   ready
}

// start runs this program as a server in the server's namespace. It ends with its
// standard input, and so also when this process is killed.
func (l *lab) start(cfg *ServerConfig, cpu int) (*process, error) {
	args := []string{"bench-server", "--server", cfg.Server, "--app", cfg.App, "--interface", l.end.Name,
		"--address", cfg.Address.String(), "--port", strconv.Itoa(int(cfg.Port)), "--spin", cfg.Spin.String(),
		"--busy-poll=" + strconv.FormatBool(cfg.BusyPoll), "--tcp-memory", strconv.FormatInt(cfg.TCPMemory, 10)}
	for _, word := range cfg.Command {
		args = append(args, "--command="+word)
	}
	cmd := exec.Command(l.cfg.Program, args...)
	// A terminal's interrupt goes to the parent alone, which ends the server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &process{cmd: cmd, answers: make(chan []byte, 1), ended: make(chan struct{}), stderr: &tail{}}
	cmd.Stderr = p.stderr
	cmd.WaitDelay = time.Second
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	cmd.Stdout = w // not StdoutPipe: Wait would close it before all is read
	if err := l.server.Do(func() error { return onCPU(cpu, cmd.Start) }); err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	go func() {
		defer close(p.answers)
		sc := bufio.NewScanner(r)
		for sc.Scan() {
			p.answers <- append([]byte(nil), sc.Bytes()...)
		}
		_, _ = io.Copy(io.Discard, r) // after a line that is too long
	}()
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
		_ = w.Close() // a pipe in memory
	}()
	if err := p.answer(&p.ready); err != nil {
		return nil, errors.Join(err, p.kill())
	}
	return p, nil
}

// answer waits for the server's next line.
func (p *process) answer(into any) error {
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	select {
	case b, ok := <-p.answers:
		if !ok {
			<-p.ended
			return fmt.Errorf("server ended: %s", p.why())
		}
		return json.Unmarshal(b, into)
	case <-timer.C:
		return fmt.Errorf("server does not answer for %v", answerTimeout)
	}
}

// why is the last the server had to say for itself.
func (p *process) why() string {
	if s := p.stderr.last(); s != "" {
		return strings.TrimPrefix(s, "shardnet: ")
	}
	if p.err != nil {
		return p.err.Error()
	}
	return "exit status 0"
}

// tell has the server do something, and returns its counters.
func (p *process) tell(what string) (stats, error) {
	var s stats
	if _, err := io.WriteString(p.in, what+"\n"); err != nil {
		// It has ended: why is what matters.
		<-p.answers
		select {
		case <-p.ended:
			return s, fmt.Errorf("server ended: %s", p.why())
		case <-time.After(answerTimeout):
			return s, err
		}
	}
	if err := p.answer(&s); err != nil {
		return s, err
	}
	if s.Err != "" {
		return s, errors.New(s.Err)
	}
	return s, nil
}

func (p *process) stats() (stats, error)     { return p.tell(tellStats) }
func (p *process) settle() (stats, error)    { return p.tell(tellSettle) }
func (p *process) profile(file string) error { _, err := p.tell(tellProfile + " " + file); return err }
func (p *process) describe() ready           { return p.ready }

// stop ends the server in order, and returns what was wrong with it.
func (p *process) stop() error {
	_, err := p.tell(tellQuit)
	if err != nil {
		return errors.Join(err, p.kill())
	}
	_ = p.in.Close()
	select {
	case <-p.ended:
	case <-time.After(answerTimeout):
		return errors.Join(errors.New("server does not end"), p.kill())
	}
	if p.err != nil {
		return fmt.Errorf("end server: %s", p.why())
	}
	return nil
}

// kill ends it now.
func (p *process) kill() error {
	_ = p.in.Close()
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
	return nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if n := len(t.b) - tailSize; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

// last is the last line that is not empty. Of a Go program that panicked it is
// the first of what it said, which names the cause.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := string(t.b)
	for _, start := range []string{"panic: ", "fatal error: "} {
		if i := strings.Index(s, start); i >= 0 {
			s, _, _ = strings.Cut(s[i:], "\n")
			return s
		}
	}
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
