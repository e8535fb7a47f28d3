package control

import (
	"fmt"
	"strconv"
	"strings"
)

// InstanceID is how an instance is written: NAME for the first, NAME:N for the others.
func InstanceID(name string, instance int) string {
	if instance == 1 {
		return name
	}
	return name + ":" + strconv.Itoa(instance)
}

// ParseTarget splits what people write into a name and an instance: "NAME" means
// all instances (0), "NAME:2" one of them.
func ParseTarget(s string) (name string, instance int, err error) {
	name, number, ok := strings.Cut(s, ":")
	if !ok {
		return name, 0, nil
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 {
		return "", 0, fmt.Errorf("cannot use companion name %q: the part after the colon must be an instance number from 1", s)
	}
	return name, n, nil
}

// Target is the reverse of [ParseTarget]: NAME for all instances (0), else NAME:N.
func Target(name string, instance int) string {
	if instance == 0 {
		return name
	}
	return name + ":" + strconv.Itoa(instance)
}

// Select returns the instances that a target means, in their order.
func Select(all []Companion, name string, instance int) []Companion {
	var found []Companion
	for _, c := range all {
		if c.Name == name && (instance == 0 || c.Instance == instance) {
			found = append(found, c)
		}
	}
	return found
}
