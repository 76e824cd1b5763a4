// Package counter has the counters of a shard that its loop alone counts.
package counter
