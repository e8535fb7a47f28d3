//go:build !linux

package config

import "runtime"

func affinity() int { return runtime.NumCPU() }
