package rawload

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// meter knows which part is measured, and keeps the result's counts of it.
type meter struct {
	r        *Result
	from, to int64
}

// measure plans the measured part, from now.
func (g *Generator) measure(w *Work) meter {
	g.tick()
	from := g.now + int64(w.Warmup)
	g.result.Elapsed = w.Duration
	m := meter{r: g.result, from: from, to: from + int64(w.Duration)}
	g.planned(w, m.from, m.to)
	return m
}

// planned tells whoever watches of the part from from to to.
func (g *Generator) planned(w *Work, from, to int64) {
	if w.Planned != nil {
		w.Planned(g.epoch.Add(time.Duration(from)), g.epoch.Add(time.Duration(to)))
	}
}

func (m *meter) in(t int64) bool { return t >= m.from && t < m.to }

// right counts an answer at now to what was due at t0.
func (m *meter) right(now, t0 int64) {
	if m.in(now) {
		m.r.Requests++
		// The highest that can be told is an hour.
		_ = m.r.Latency.RecordValue(min(max(now-t0, 1), int64(time.Hour)))
	}
}

// lost counts a request sent at t0.
func (m *meter) lost(t0 int64) {
	if m.in(t0) {
		m.r.Lost++
	}
}

func (m *meter) wrong(what string, got []byte) {
	m.r.Wrong++
	if m.r.FirstWrong == "" {
		m.r.FirstWrong = fmt.Sprintf("%s: %d bytes %.64q", what, len(got), got[:min(len(got), 64)])
	}
}

// pacer says when requests are due.
type pacer struct {
	start    int64
	interval float64 // nanoseconds; 0 is a closed loop
	n        uint64  // taken so far
}

func newPacer(rate float64, start int64) pacer {
	p := pacer{start: start}
	if rate > 0 {
		p.interval = 1e9 / rate
	}
	return p
}

// due is when the next request is due; in a closed loop, at once.
func (p *pacer) due(now int64) int64 {
	if p.interval == 0 {
		return now
	}
	return p.start + int64(float64(p.n)*p.interval)
}

func (p *pacer) take() { p.n++ }

// unsent is how many requests were due in [from, to) and not taken.
func (p *pacer) unsent(from, to int64) uint64 {
	if p.interval == 0 {
		return 0
	}
	first := max(p.n, uint64(float64(max(from-p.start, 0))/p.interval))
	return max(uint64(float64(max(to-p.start, 0))/p.interval), first) - first
}

// keys chooses what memcached is asked for.
type keys struct {
	rng  *rand.PCG
	n    uint64
	sets uint64   // threshold of 32 random bits; 1<<32 is always
	zipf []uint32 // drawn beforehand, as drawing is slow; nil: uniform
	at   int
}

const zipfDraws = 1 << 18

func (g *Generator) keys(w *Work) *keys {
	k := &keys{rng: g.rng, n: uint64(w.Keys), sets: uint64(w.Sets * (1 << 32))}
	if w.Zipf > 1 {
		z := rand.NewZipf(rand.New(g.rng), w.Zipf, 1, k.n-1)
		k.zipf = make([]uint32, zipfDraws)
		for i := range k.zipf {
			k.zipf[i] = uint32(z.Uint64())
		}
	}
	return k
}

// pick returns the next key and whether it is to be set.
func (k *keys) pick() (key uint32, set bool) {
	r := k.rng.Uint64()
	set = r&0xffffffff < k.sets
	if k.zipf == nil {
		return uint32(r >> 32 * k.n >> 32), set
	}
	k.at = (k.at + 1) & (zipfDraws - 1)
	return k.zipf[k.at], set
}

// elapsed is how much of the measured part had passed at now.
func elapsed(now int64, m meter) time.Duration {
	return time.Duration(max(min(now, m.to)-m.from, 0))
}
