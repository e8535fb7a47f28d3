package tally

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"
)

// ErrUnsupported says that the platform has no memory to share in this way.
var ErrUnsupported = errors.New("counting requests in shared memory is not supported on this platform")

// Bounds are the upper bounds of the latency histogram; above the last one is one
// bucket more.
var Bounds = [...]time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Classes are the classes of answers: 1 to 5 for 1xx to 5xx, 0 for those that were
// broken off.
const Classes = 6

// Counts is what a page says, or a sum over several.
type Counts struct {
	Begun    uint64
	Answered [Classes]uint64         // by the class of the status
	Buckets  [len(Bounds) + 1]uint64 // answered within each of Bounds, and above
	Time     time.Duration           // of all that were answered
}

// Add adds another page's counts.
func (c *Counts) Add(o Counts) {
	c.Begun += o.Begun
	for i, n := range o.Answered {
		c.Answered[i] += n
	}
	for i, n := range o.Buckets {
		c.Buckets[i] += n
	}
	c.Time += o.Time
}

// InFlight is how many requests were begun and not answered.
func (c *Counts) InFlight() uint64 {
	var answered uint64
	for _, n := range c.Answered {
		answered += n
	}
	if answered > c.Begun {
		return 0 // a page that its worker has spoilt
	}
	return c.Begun - answered
}

// block is the layout of the memory. Both ends are the same binary.
type block struct {
	begun    atomic.Uint64
	answered [Classes]atomic.Uint64
	buckets  [len(Bounds) + 1]atomic.Uint64
	time     atomic.Int64 // nanoseconds
}

const size = int(unsafe.Sizeof(block{}))

// Page is one worker's counters.
type Page struct {
	memory []byte
	block  *block
}

func newPage(memory []byte) *Page {
	// A mapping begins at a page of the machine, so the words are aligned.
	return &Page{memory, (*block)(unsafe.Pointer(unsafe.SliceData(memory)))}
}

// New makes a page and the descriptor with which another process opens it; the
// caller closes both.
func New() (p *Page, fd int, err error) {
	fd, err = create()
	if err != nil {
		return nil, -1, fmt.Errorf("cannot share memory with a worker: %w", err)
	}
	memory, err := mapped(fd)
	if err != nil {
		_ = closeFD(fd)
		return nil, -1, fmt.Errorf("cannot share memory with a worker: %w", err)
	}
	return newPage(memory), fd, nil
}

// Open maps the page that another process made, and closes the descriptor.
func Open(fd int) (*Page, error) {
	memory, err := mapped(fd)
	_ = closeFD(fd) // the mapping holds the memory
	if err != nil {
		return nil, fmt.Errorf("cannot map descriptor %d to count requests: %w", fd, err)
	}
	return newPage(memory), nil
}

// Close unmaps the page: nobody may use it any more.
func (p *Page) Close() error {
	memory := p.memory
	p.memory, p.block = nil, nil
	return unmapped(memory)
}

// Begin counts a request that has come in.
func (p *Page) Begin() { p.block.begun.Add(1) }

// End counts its end: the status of the answer, 0 for none, and the time it took.
func (p *Page) End(status int, took time.Duration) {
	class := status / 100
	if class < 0 || class >= Classes {
		class = 0
	}
	bucket := 0
	for bucket < len(Bounds) && took > Bounds[bucket] {
		bucket++
	}
	p.block.buckets[bucket].Add(1)
	p.block.time.Add(int64(took))
	p.block.answered[class].Add(1)
}

// Read returns what was counted so far.
func (p *Page) Read() Counts {
	var c Counts
	for i := range p.block.answered {
		c.Answered[i] = p.block.answered[i].Load()
	}
	for i := range p.block.buckets {
		c.Buckets[i] = p.block.buckets[i].Load()
	}
	c.Time = time.Duration(p.block.time.Load())
	c.Begun = p.block.begun.Load()
	return c
}
