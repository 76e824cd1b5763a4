// Package ring hands frames from one shard to another.
package ring
