// Package drop lists the reasons for which a shard drops a packet. Each drop is counted
// under one of them, per shard: stack.Stats has the counts by reason, the command's
// summary prints them by name.
package drop
