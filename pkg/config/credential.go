package config

import (
	"errors"
	"fmt"
	"math"
	"os/user"
	"slices"
	"strconv"
)

// userGroup is a user and a group as configured.
type userGroup struct{ user, group string }

// credential is what a lookup found; with an error it cannot be used.
type credential struct {
	cred              *Credential
	userErr, groupErr error
}

// credential looks up who a process runs as. Of the levels (server, defaults, own) the
// last that sets a user decides, and takes only a group that is set there or later: a
// group of another level belongs to another user.
func (l *resolver) credential(levels ...*values) *Credential {
	var want userGroup
	var userAt, groupAt string
	for _, v := range levels {
		if v == nil {
			continue
		}
		if u, _ := v.own["user"].(string); u != "" {
			want, userAt, groupAt = userGroup{user: u}, v.at("user"), ""
		}
		if g, _ := v.own["group"].(string); g != "" {
			want.group, groupAt = g, v.at("group")
		}
	}
	if want == (userGroup{}) {
		return nil
	}
	found, seen := l.creds[want]
	if !seen {
		found = lookup(want, l.host)
		l.creds[want] = found
	}
	if found.userErr != nil {
		l.bad(userAt, want.user, found.userErr.Error())
	}
	if found.groupErr != nil {
		l.bad(groupAt, want.group, found.groupErr.Error())
	}
	if found.userErr != nil || found.groupErr != nil {
		return nil
	}
	if l.host.euid != 0 {
		if found.cred.UID == uint32(l.host.euid) && found.cred.GID == uint32(l.host.egid) {
			return nil // already so, and setgroups(2) would be refused
		}
		at := userAt
		if at == "" {
			at = groupAt
		}
		l.warn("%s: gofork does not run as root and may not be able to start processes as another user or group", at)
	}
	return found.cred
}

func lookup(want userGroup, h host) (found credential) {
	c := &Credential{User: want.user, UID: uint32(h.euid), GID: uint32(h.egid)}
	found.cred = c
	hasGroup := want.group != ""
	if want.user != "" {
		u, err := lookupUser(want.user)
		switch {
		case err == nil:
			found.userErr = c.fill(u)
		case !isID(want.user):
			found.userErr = errors.New("must be a user of this machine, or a numeric id")
		case !hasGroup:
			found.userErr = errors.New("has no passwd entry that names its group: group must be set too")
		default:
			c.UID = id(want.user)
		}
	}
	if hasGroup {
		if gid, err := lookupGroup(want.group); err == nil {
			c.GID = gid
		} else {
			found.groupErr = err
		}
	}
	if !slices.Contains(c.Groups, c.GID) {
		c.Groups = append(c.Groups, c.GID)
	}
	slices.Sort(c.Groups)
	c.Groups = slices.Compact(c.Groups)
	return found
}

func (c *Credential) fill(u *user.User) error {
	if !isID(u.Uid) || !isID(u.Gid) {
		return errors.New("has no usable ids in its passwd entry")
	}
	c.UID, c.GID = id(u.Uid), id(u.Gid)
	c.Home, c.Login = u.HomeDir, u.Username
	groups, err := u.GroupIds()
	if err != nil {
		return fmt.Errorf("cannot find its supplementary groups: %w", err)
	}
	for _, g := range groups {
		if isID(g) {
			c.Groups = append(c.Groups, id(g))
		}
	}
	return nil
}

// lookupUser finds a name first, because names of digits exist.
func lookupUser(name string) (*user.User, error) {
	u, err := user.Lookup(name)
	if err != nil && isID(name) {
		return user.LookupId(name)
	}
	return u, err
}

func lookupGroup(name string) (uint32, error) {
	if g, err := user.LookupGroup(name); err == nil && isID(g.Gid) {
		return id(g.Gid), nil
	}
	if isID(name) {
		return id(name), nil
	}
	return 0, errors.New("must be a group of this machine, or a numeric id")
}

// isID reports whether s is a user or group id; the largest number means "unchanged"
// to setuid(2) and is none.
func isID(s string) bool {
	n, err := strconv.ParseUint(s, 10, 32)
	return err == nil && n < math.MaxUint32
}

// id is the number of a string that isID accepted.
func id(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 32)
	return uint32(n)
}
