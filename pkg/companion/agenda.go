package companion

import (
	"container/heap"
	"time"
)

// agenda is who wants to be looked at, the earliest first: with a thousand
// instances nobody looks at all of them to find the next deadline.
type agenda []*instance

// put enters an instance at the moment that it wants, moves it there, or takes
// it out when it wants none.
func (a *agenda) put(i *instance) {
	at := i.earliest()
	switch {
	case at.IsZero():
		a.drop(i)
	case i.place == 0:
		i.at = at
		heap.Push(a, i)
	case !at.Equal(i.at):
		i.at = at
		heap.Fix(a, i.place-1)
	}
}

func (a *agenda) drop(i *instance) {
	if i.place > 0 {
		heap.Remove(a, i.place-1)
	}
}

// earliest is when the first is due; zero = never.
func (a agenda) earliest() time.Time {
	if len(a) == 0 {
		return time.Time{}
	}
	return a[0].at
}

// due takes out everybody whose moment has come.
func (a *agenda) due(now time.Time) []*instance {
	var all []*instance
	for len(*a) > 0 && due((*a)[0].at, now) {
		all = append(all, heap.Pop(a).(*instance))
	}
	return all
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(x, y int) bool { return a[x].at.Before(a[y].at) }

func (a agenda) Swap(x, y int) {
	a[x], a[y] = a[y], a[x]
	a[x].place, a[y].place = x+1, y+1
}

func (a *agenda) Push(x any) {
	i := x.(*instance)
	*a = append(*a, i)
	i.place = len(*a)
}

func (a *agenda) Pop() any {
	last := len(*a) - 1
	i := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	i.place = 0
	return i
}
