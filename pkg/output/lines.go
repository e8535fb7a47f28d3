package output

import (
	"bytes"
	"unicode/utf8"
)

const (
	// MaxLine is the longest line in bytes, without its newline. Longer ones are split.
	MaxLine = 64 << 10

	// SplitMark ends every piece of a split line but the last one. A piece is
	// never longer than MaxLine, its mark included.
	SplitMark = " [line split]"
)

// splitLines hands the lines in p to whole and cut in order and returns the
// unfinished rest, which is never longer than MaxLine. p must begin where a
// line begins. whole gets one or more lines, each with its newline; cut gets a
// piece of a line that is too long, without mark and newline.
//
// It reads only the end of each stretch of MaxLine bytes: when there is a
// newline in it, no line before that newline can be too long.
func splitLines(p []byte, whole, cut func([]byte)) (rest []byte) {
	start, line := 0, 0 // of what was not handed out yet; of the current line
	for line < len(p) {
		window := p[line:min(line+MaxLine+1, len(p))]
		if i := bytes.LastIndexByte(window, '\n'); i >= 0 {
			line += i + 1
			continue
		}
		if len(window) <= MaxLine {
			break
		}
		if start < line {
			whole(p[start:line])
		}
		n := cutAt(window)
		cut(p[line : line+n])
		line += n
		start = line
	}
	if start < line {
		whole(p[start:line])
	}
	return p[line:]
}

// cutAt returns how much of a line that is too long makes the next piece:
// what fits with the mark, less an incomplete UTF-8 sequence at the end.
func cutAt(line []byte) int {
	n := MaxLine - len(SplitMark)
	for back := range utf8.UTFMax {
		if utf8.RuneStart(line[n-back]) {
			return n - back
		}
	}
	return n // not UTF-8
}

// eachLine calls f for each line in p without its newline.
func eachLine(p []byte, f func([]byte)) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			f(p)
			return
		}
		f(p[:i])
		p = p[i+1:]
	}
}

// lastLines returns where the last n lines of p begin. p ends with a newline.
func lastLines(p []byte, n int) int {
	end := len(p)
	for ; n > 0 && end > 0; n-- {
		end = bytes.LastIndexByte(p[:end-1], '\n') + 1
	}
	return end
}
