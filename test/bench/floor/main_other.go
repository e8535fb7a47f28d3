//go:build !linux

// Command floor needs Linux, as everything that it is compared with does.
package main

import "log"

func main() { log.Fatal("not supported on this platform") }
