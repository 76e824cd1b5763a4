package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
)

// Streams are what a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Run runs the command that args, without the program's name, ask for, until it
// is done or ctx ends. It returns the exit code.
func Run(ctx context.Context, args []string, std Streams) int {
	root := newRoot(std)
	root.SetArgs(args)
	root.SetIn(std.In)
	root.SetOut(std.Out)
	root.SetErr(std.Err)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(std.Err, "shardnet: %s\n", oneLine(err))
		return 1
	}
	return 0
}

// oneLine is err's text on one line: joined errors have several.
func oneLine(err error) string {
	var parts []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, "; ")
}

func newRoot(std Streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "shardnet",
		Short: "A TCP/IP stack in a Go process, over raw NIC queues",
		Long: `A TCP/IP stack in a Go process, over raw NIC queues: one queue feeds one stack
on one core, and a connection lives and dies there.`,
		Args:               noArgs,
		SilenceErrors:      true,
		SilenceUsage:       true,
		DisableSuggestions: true,
		CompletionOptions:  cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	for _, cmd := range []*cobra.Command{newEcho(std), newMemcached(std), newDemo(std), newBench(std), newBenchServer(std), newDoctor()} {
		cmd.Args = noArgs
		root.AddCommand(cmd)
	}
	return root
}

// noArgs is cobra.NoArgs with an error that helps.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		return fmt.Errorf("there is no command %q: see %s --help", args[0], cmd.CommandPath())
	}
	return fmt.Errorf("%q is one word too many: %s takes flags only, see --help", args[0], cmd.CommandPath())
}

// newLogger logs to w what happens while a server runs.
func newLogger(w io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
