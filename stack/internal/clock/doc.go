// Package clock is the time of a shard's loop: read once a turn, and the timers that fire
// on the loop. Netstack's timers and those of applications lie in its wheel; the TCP
// engine has one of its own, of 32-bit references in place of pointers.
package clock
