// Package doctor looks for what stands in the way of serving over AF_XDP: kernel,
// privilege, locked memory, and the interface with its driver, queues and XDP
// program. It changes nothing. Each obstacle it finds comes with a remedy.
package doctor
