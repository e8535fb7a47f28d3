package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The picture in its own units, which are pixels at its natural size.
const (
	width, height = 860, 404

	plotLeft, plotRight = 62, 838
	plotTop, plotBottom = 96, 300

	// Requests whose dots would lie on each other are one dot.
	grid = 1.5
)

// The axis of latency is logarithmic, from here to the decade above the worst.
const quickest = 100 * time.Microsecond

// style has the colours of both of GitHub's themes. The picture brings its own
// ground, so that it can be read whichever of the two a viewer asks for.
const style = `
text{font:12px -apple-system,"Segoe UI","Noto Sans",Helvetica,Arial,sans-serif;fill:#1f2328}
.title{font-size:16px;font-weight:600}
.outcome{font-size:14px;font-weight:600}
.muted{fill:#59636e}
.ground{fill:#fff;stroke:#d1d9e0}
.line{stroke:#d1d9e0;fill:none}
.booting{fill:#1a7f37;fill-opacity:.26}
.draining{fill:#1a7f37;fill-opacity:.1}
.refused{fill:#bf8700;fill-opacity:.45}
.answered{stroke:#0969da;stroke-width:1.4;stroke-linecap:round;fill:none}
.failed{stroke:#cf222e;stroke-width:1.8;fill:none}
@media (prefers-color-scheme:dark){
text{fill:#f0f6fc}
.muted{fill:#9198a1}
.ground{fill:#0d1117;stroke:#3d444d}
.line{stroke:#3d444d}
.booting{fill:#3fb950;fill-opacity:.3}
.draining{fill:#3fb950;fill-opacity:.13}
.refused{fill:#d29922;fill-opacity:.5}
.answered{stroke:#4493f8}
.failed{stroke:#f85149}
}
`

// draw returns the picture of a take.
func draw(t *take) []byte {
	p := &picture{take: t, slowest: decadeAbove(t.worst())}
	p.line(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-labelledby="title outcome">`,
		width, height, width, height)
	p.line(`<style>%s</style>`, style)
	p.line(`<rect class="ground" x=".5" y=".5" width="%d" height="%d" rx="6"/>`, width-1, height-1)
	p.text(20, 30, `class="title" id="title"`, fmt.Sprintf("%d requests a second through three reloads and a broken one", rate))
	p.text(20, 50, `class="muted"`, fmt.Sprintf("%d kept connections, no request sent twice; latency from the moment when a request was due", clients))
	p.spans()
	p.axes()
	p.dots()
	p.legend()
	p.text(20, 372, `class="outcome" id="outcome"`, t.outcome())
	p.text(20, 391, `class="muted" style="font-size:11px"`, t.about)
	p.line(`</svg>`)
	return []byte(p.out.String())
}

type picture struct {
	*take
	slowest time.Duration // the top of the plot
	out     strings.Builder
}

func (p *picture) line(format string, args ...any) {
	fmt.Fprintf(&p.out, format+"\n", args...)
}

func (p *picture) text(x, y float64, attributes, s string) {
	p.line(`<text x="%s" y="%s" %s>%s</text>`, coordinate(x), coordinate(y), attributes, html.EscapeString(s))
}

// spans are the reloads, behind everything else, with their labels above.
func (p *picture) spans() {
	for _, r := range p.reloads {
		first, second, class := r.label, fmt.Sprintf("new workers in %s", seconds(r.done-r.asked)), "booting"
		if r.refused {
			second, class = fmt.Sprintf("refused after %s", seconds(r.done-r.asked)), "refused"
		}
		p.span(class, r.asked, r.done)
		if !r.refused {
			p.span("draining", r.done, r.drained)
		}
		middle := (p.x(r.asked) + p.x(max(r.done, r.drained))) / 2
		p.text(middle, plotTop-20, `text-anchor="middle" style="font-weight:600"`, first)
		p.text(middle, plotTop-6, `text-anchor="middle" class="muted"`, second)
	}
}

func (p *picture) span(class string, from, to time.Duration) {
	const least = 3 // a refusal takes milliseconds, and is to be seen
	x := p.x(from)
	p.line(`<rect class="%s" x="%s" y="%d" width="%s" height="%d"/>`,
		class, coordinate(x), plotTop, coordinate(max(p.x(to)-x, least)), plotBottom-plotTop)
}

func (p *picture) axes() {
	for latency := quickest; latency <= p.slowest; latency *= 10 {
		y := p.y(latency)
		p.line(`<path class="line" d="M%d %sH%d"/>`, plotLeft, coordinate(y), plotRight)
		p.text(plotLeft-8, y+4, `text-anchor="end" class="muted"`, latencyLabel(latency))
	}
	every := time.Second
	if p.length > 20*time.Second {
		every = 5 * time.Second
	}
	for at := time.Duration(0); at <= p.length; at += every {
		x := p.x(at)
		p.line(`<path class="line" d="M%s %dv4"/>`, coordinate(x), plotBottom)
		p.text(x, plotBottom+17, `text-anchor="middle" class="muted"`, strconv.FormatFloat(at.Seconds(), 'g', -1, 64)+" s")
	}
}

// dots are all requests: those that were answered as one path of points, each
// from the one before and in steps of the grid, so that the file stays small, and
// those that failed as crosses above them.
func (p *picture) dots() {
	if cells := p.cells(false); len(cells) > 0 {
		var d strings.Builder
		fmt.Fprintf(&d, "M%d %dh0", cells[0][0], cells[0][1])
		for i, c := range cells[1:] {
			fmt.Fprintf(&d, "m%d %dh0", c[0]-cells[i][0], c[1]-cells[i][1])
		}
		p.line(`<path class="answered" transform="scale(%g)" d="%s"/>`, grid, d.String())
	}
	if cells := p.cells(true); len(cells) > 0 {
		var d strings.Builder
		for _, c := range cells {
			fmt.Fprintf(&d, "M%s %s%s", coordinate(float64(c[0])*grid), coordinate(float64(c[1])*grid), cross)
		}
		p.line(`<path class="failed" d="%s"/>`, d.String())
	}
}

// cross is drawn around the point where it begins.
const cross = "m-3-3l6 6m0-6l-6 6"

// cells are the places on the grid that have requests, in order.
func (p *picture) cells(failed bool) (all [][2]int) {
	cells := map[[2]int]bool{}
	for _, r := range p.requests {
		if r.failed == failed {
			cells[[2]int{int(math.Round(p.x(r.due) / grid)), int(math.Round(p.y(r.took) / grid))}] = true
		}
	}
	for c := range cells {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	return all
}

func (p *picture) legend() {
	const y = 344
	p.line(`<path class="answered" transform="scale(%g)" d="M41 227h0m3-2h0m3 3h0"/>`, grid) // at y, on the grid
	p.text(80, y, "", "answered requests")
	p.line(`<path class="failed" d="M216 %d%s"/>`, y-4, cross)
	p.text(226, y, "", "failed request")
	p.line(`<rect class="booting" x="340" y="%d" width="14" height="14"/>`, y-11)
	p.text(360, y, "", "new workers start")
	p.line(`<rect class="draining" x="490" y="%d" width="14" height="14"/>`, y-11)
	p.text(510, y, "", "old workers drain")
	p.line(`<rect class="refused" x="640" y="%d" width="14" height="14"/>`, y-11)
	p.text(660, y, "", "refused, old workers go on")
}

func (p *picture) x(at time.Duration) float64 {
	return plotLeft + (plotRight-plotLeft)*at.Seconds()/p.length.Seconds()
}

func (p *picture) y(latency time.Duration) float64 {
	share := math.Log(float64(max(latency, quickest))/float64(quickest)) / math.Log(float64(p.slowest)/float64(quickest))
	return plotBottom - (plotBottom-plotTop)*share
}

// outcome is the caption.
func (t *take) outcome() string {
	var answered []time.Duration
	for _, r := range t.requests {
		if !r.failed {
			answered = append(answered, r.took)
		}
	}
	slices.Sort(answered)
	s := fmt.Sprintf("%s requests, %s failed.", count(len(t.requests)), count(len(t.requests)-len(answered)))
	if n := len(answered); n > 0 {
		s += fmt.Sprintf(" Latency: median %s, 99 %% within %s, worst %s.",
			milliseconds(answered[n/2]), milliseconds(answered[min(n*99/100, n-1)]), milliseconds(answered[n-1]))
	}
	return s
}

func (t *take) worst() (worst time.Duration) {
	for _, r := range t.requests {
		worst = max(worst, r.took)
	}
	return worst
}

// decadeAbove is the first of 10 ms, 100 ms … that is not exceeded.
func decadeAbove(d time.Duration) time.Duration {
	decade := 10 * time.Millisecond
	for decade < d {
		decade *= 10
	}
	return decade
}

// coordinate has one digit after the point at most.
func coordinate(v float64) string {
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}

// latencyLabel names a decade: 0.1 ms, 1 ms … 1 s, 10 s.
func latencyLabel(d time.Duration) string {
	if d >= time.Second {
		return fmt.Sprintf("%g s", d.Seconds())
	}
	return fmt.Sprintf("%g ms", d.Seconds()*1000)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func milliseconds(d time.Duration) string {
	ms := d.Seconds() * 1000
	if ms >= 10 {
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f ms", ms)
}

// count separates thousands.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
