package memcached

import (
	"os"
	"runtime"
	"strconv"
)

// stats [items|slabs|sizes|settings|reset]. The lines are those of memcached
// whose numbers exist here. There are no slab classes: items and slabs are told
// as of one class, whose chunks are the arena's units.
func (s *Session) stats(out []byte) []byte {
	sub := ""
	if s.words.n > 1 {
		sub = string(s.words.word[1])
	}
	w := statWriter{out: out}
	switch sub {
	case "":
		s.srv.generalStats(&w)
	case "items":
		s.store.itemStats(&w)
	case "slabs":
		s.store.slabStats(&w)
	case "sizes":
		w.text("sizes_status", "disabled")
	case "settings":
		s.srv.settingStats(&w)
	case "reset":
		s.store.ResetStats()
		s.srv.flushes.Store(0)
		return append(out, "RESET\r\n"...)
	default:
		return append(out, errUnknown...)
	}
	return append(w.out, "END\r\n"...)
}

// statWriter appends STAT lines.
type statWriter struct {
	out    []byte
	prefix string
}

func (w *statWriter) text(name, value string) {
	w.out = append(w.out, "STAT "...)
	w.out = append(w.out, w.prefix...)
	w.out = append(w.out, name...)
	w.out = append(w.out, ' ')
	w.out = append(w.out, value...)
	w.out = append(w.out, "\r\n"...)
}

func (w *statWriter) number(name string, n uint64) { w.text(name, strconv.FormatUint(n, 10)) }

func (srv *Server) generalStats(w *statWriter) {
	st := srv.store.Stats()
	net := srv.tally.Sum()
	clock := &srv.store.clock
	now := clock.now()
	w.number("pid", uint64(os.Getpid()))
	w.number("uptime", uint64(now-clockBegin))
	w.number("time", uint64(clock.unix(now)))
	w.text("version", srv.cfg.Version)
	w.number("pointer_size", strconv.IntSize)
	w.number("max_connections", uint64(srv.cfg.MaxConnections))
	w.number("curr_connections", net.Opened-net.Closed)
	w.number("total_connections", net.Opened)
	w.number("rejected_connections", net.Rejected)
	w.number("cmd_get", st.GetHits+st.GetMisses)
	w.number("cmd_set", st.CmdSet)
	w.number("cmd_flush", srv.flushes.Load())
	w.number("cmd_touch", st.CmdTouch)
	w.number("get_hits", st.GetHits)
	w.number("get_misses", st.GetMisses)
	w.number("get_expired", st.GetExpired)
	w.number("get_flushed", st.GetFlushed)
	w.number("delete_misses", st.DeleteMisses)
	w.number("delete_hits", st.DeleteHits)
	w.number("incr_misses", st.IncrMisses)
	w.number("incr_hits", st.IncrHits)
	w.number("decr_misses", st.DecrMisses)
	w.number("decr_hits", st.DecrHits)
	w.number("cas_misses", st.CASMisses)
	w.number("cas_hits", st.CASHits)
	w.number("cas_badval", st.CASBadval)
	w.number("touch_hits", st.TouchHits)
	w.number("touch_misses", st.TouchMisses)
	w.number("store_too_large", st.StoreTooLarge)
	w.number("store_no_memory", st.StoreNoMemory)
	w.number("bytes_read", net.BytesIn)
	w.number("bytes_written", net.BytesOut)
	w.number("limit_maxbytes", uint64(st.MemoryLimit))
	w.number("accepting_conns", 1)
	w.number("threads", uint64(runtime.GOMAXPROCS(0)))
	w.number("hash_bytes", uint64(st.IndexBytes))
	w.number("bytes", uint64(st.Bytes))
	w.number("curr_items", uint64(st.Items))
	w.number("total_items", st.TotalItems)
	w.number("expired_unfetched", st.ExpiredUnfetched)
	w.number("evicted_unfetched", st.EvictedUnfetched)
	w.number("evictions", st.Evictions)
	w.number("reclaimed", st.Reclaimed)
}

func (st *Store) itemStats(w *statWriter) {
	s := st.Stats()
	if s.Items == 0 {
		return
	}
	w.prefix = "items:1:"
	w.number("number", uint64(s.Items))
	w.number("age", uint64(s.OldestAge))
	w.number("mem_requested", uint64(s.Bytes))
	w.number("evicted", s.Evictions)
	w.number("evicted_nonzero", s.EvictedNonzero)
	w.number("evicted_time", s.EvictedAge)
	w.number("outofmemory", s.StoreNoMemory)
	w.number("tailrepairs", 0)
	w.number("reclaimed", s.Reclaimed)
	w.number("expired_unfetched", s.ExpiredUnfetched)
	w.number("evicted_unfetched", s.EvictedUnfetched)
}

func (st *Store) slabStats(w *statWriter) {
	s := st.Stats()
	if s.Allocated > 0 {
		total := uint64(s.Allocated / unitSize)
		used := uint64(s.Bytes / unitSize)
		w.prefix = "1:"
		w.number("chunk_size", unitSize)
		w.number("chunks_per_page", segUnits)
		w.number("total_pages", uint64(s.Allocated/segSize))
		w.number("total_chunks", total)
		w.number("used_chunks", used)
		w.number("free_chunks", total-used)
		w.number("free_chunks_end", 0)
		w.number("get_hits", s.GetHits)
		w.number("cmd_set", s.CmdSet)
		w.number("delete_hits", s.DeleteHits)
		w.number("incr_hits", s.IncrHits)
		w.number("decr_hits", s.DecrHits)
		w.number("cas_hits", s.CASHits)
		w.number("cas_badval", s.CASBadval)
		w.number("touch_hits", s.TouchHits)
		w.prefix = ""
		w.number("active_slabs", 1)
	} else {
		w.number("active_slabs", 0)
	}
	w.number("total_malloced", uint64(s.Allocated))
}

func (srv *Server) settingStats(w *statWriter) {
	st := srv.store.Stats()
	onOff := func(on bool) string {
		if on {
			return "on"
		}
		return "off"
	}
	w.number("maxbytes", uint64(st.MemoryLimit))
	w.number("maxconns", uint64(srv.cfg.MaxConnections))
	w.number("verbosity", uint64(srv.verbosity.Load()))
	w.text("evictions", onOff(!srv.store.shards[0].noEvict))
	w.text("shutdown_command", "no")
	w.number("num_threads", uint64(runtime.GOMAXPROCS(0)))
	w.text("detail_enabled", "no")
	w.text("cas_enabled", "yes")
	w.text("binding_protocol", "ascii")
	w.text("auth_enabled_sasl", "no")
	w.text("auth_enabled_ascii", "no")
	w.number("item_size_max", uint64(srv.store.maxItem))
	w.text("flush_enabled", "yes")
	w.text("dump_enabled", "no")
	w.text("hash_algorithm", "maphash")
	w.number("store_shards", uint64(len(srv.store.shards)))
}
