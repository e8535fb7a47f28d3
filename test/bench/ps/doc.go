// Package ps reads what the kernel says of processes, see proc(5): who is whose
// child, what memory and processor time they cost, and how often they woke.
package ps
