// Command gotest runs "go test" and prints what it prints, and beyond that holds
// the project to its word on skipped tests: as root, where everything a test
// needs can be had, a skipped test is a failure; without root, the tests that
// were skipped are listed by name, each with its reason.
//
//	go run ./test/gotest [-timeout 10m] [go test flags] ./...
//
// Its arguments go to "go test -json" as they are. The exit code is that of go
// test, or 1 when a test was skipped as root.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

func main() {
	cmd := exec.Command("go", append([]string{"test", "-json"}, os.Args[1:]...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(1)
	}
	// An interrupt reaches go test too, as one of the terminal's processes; it
	// ends, and then so does this.
	w := bufio.NewWriter(os.Stdout)
	rep := newReport(w, os.Geteuid() == 0)
	readErr := rep.read(out)
	if readErr != nil {
		_, _ = io.Copy(io.Discard, out)
	}
	code := exitCode(cmd.Wait())
	ok := rep.finish()
	if err := w.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		code = 1
	}
	if readErr != nil {
		fmt.Fprintln(os.Stderr, "gotest: read what go test prints:", readErr)
		code = 1
	}
	if code == 0 && !ok {
		code = 1
	}
	os.Exit(code)
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	}
	return 1
}
