package control

import "encoding/json"

// The lists of the API are never null: who reads them need not tell "none" from
// "not there". The aliases below stop the methods from calling themselves.

// MarshalJSON writes lists that are nil as empty ones.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status
	s.Listeners, s.Companions = list(s.Listeners), list(s.Companions)
	return json.Marshal(plain(s))
}

// MarshalJSON writes lists that are nil as empty ones.
func (w Workers) MarshalJSON() ([]byte, error) {
	type plain Workers
	w.List = list(w.List)
	return json.Marshal(plain(w))
}

// MarshalJSON writes lists that are nil as empty ones.
func (c CompanionsChange) MarshalJSON() ([]byte, error) {
	type plain CompanionsChange
	c.Added, c.Removed = list(c.Added), list(c.Removed)
	c.Restarted, c.Unchanged = list(c.Restarted), list(c.Unchanged)
	return json.Marshal(plain(c))
}

// MarshalJSON writes lists that are nil as empty ones.
func (p Plan) MarshalJSON() ([]byte, error) {
	type plain Plan
	p.Listeners, p.Companions = list(p.Listeners), list(p.Companions)
	return json.Marshal(plain(p))
}

// MarshalJSON writes lists that are nil as empty ones.
func (p PlanCompanion) MarshalJSON() ([]byte, error) {
	type plain PlanCompanion
	p.Keys = list(p.Keys)
	return json.Marshal(plain(p))
}

func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
