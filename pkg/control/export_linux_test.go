package control

// Backlog is how many connections wait in the kernel's queue.
const Backlog = backlog
