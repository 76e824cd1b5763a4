package netstack

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/log"
)

// Netstack logs to one logger a process, by default to standard error. A library
// must not, so the first stack that starts redirects it: its lines go to that
// stack's Logger, at level Debug, as what they tell (a segment refused, an
// address in use) is counted or returned elsewhere.
var redirectOnce sync.Once

// RedirectLog sends netstack's log to to, if this is the first call in the process.
func RedirectLog(to *slog.Logger) {
	redirectOnce.Do(func() { log.SetTarget(slogEmitter{to}) })
}

type slogEmitter struct{ to *slog.Logger }

// Emit implements log.Emitter.
func (e slogEmitter) Emit(_ int, _ log.Level, _ time.Time, format string, v ...any) {
	if e.to.Enabled(context.Background(), slog.LevelDebug) {
		e.to.Debug("netstack: " + fmt.Sprintf(format, v...))
	}
}
