package bench

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"shardnet/cmd/shardnet/internal/report"
)

// profileLines is how much of a profile the report has: enough to see what stands
// in the way.
const profileLines = 30

// profileTimeout bounds the reading of one profile.
const profileTimeout = 30 * time.Second

// profileFile is where the CPU profile of the kind of server under w is written.
func (b *bench) profileFile(w *workload, kind string) string {
	name := strings.NewReplacer("/", "-", ",", "-", "=", "").Replace(w.id() + "-" + kind)
	return filepath.Join(b.cfg.Profiles, name+".prof")
}

// addProfile puts the top functions of a profile into the report. That takes the
// Go toolchain; without it the file alone is there.
func (b *bench) addProfile(ctx context.Context, w *workload, kind string) {
	ctx, cancel := context.WithTimeout(ctx, profileTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", b.cfg.Program, b.profileFile(w, kind)).Output()
	if err != nil {
		return
	}
	var lines []string
	for l := range strings.Lines(string(out)) {
		if len(lines) == profileLines {
			break
		}
		lines = append(lines, l)
	}
	b.report.Profiles = append(b.report.Profiles, report.Profile{Name: w.id() + " on " + kind, Text: strings.Join(lines, "")})
}
