// Package loop is what the parts of a shard see of the loop that runs them.
package loop
