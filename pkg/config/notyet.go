package config

import (
	"slices"
	"strings"
)

// notYet lists keys that the schema knows and nothing acts on so far. To set one to
// anything but its default is refused, because a setting that has no effect is worse
// than an error. "*" stands for one step of a dotted key.
func notYet() []string {
	return []string{}
}

// NotYet reports whether nothing acts on the key so far, so that only its default is
// accepted.
func (k Key) NotYet() bool {
	return slices.ContainsFunc(notYet(), func(p string) bool { return matchKey(p, k.Path()) })
}

// matchKey reports whether a dotted key fits a pattern of notYet.
func matchKey(pattern, key string) bool {
	for {
		p, pRest, pMore := strings.Cut(pattern, ".")
		k, kRest, kMore := strings.Cut(key, ".")
		if p != "*" && p != k || pMore != kMore {
			return false
		}
		if !pMore {
			return true
		}
		pattern, key = pRest, kRest
	}
}
