package output

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// splitAll feeds p in chunks, as a reader does, and returns the lines that come
// out, the pieces of split ones with their mark, and the unfinished rest.
func splitAll(chunks [][]byte) (lines []string, rest string) {
	var held []byte
	for _, chunk := range chunks {
		p := append(held, chunk...)
		left := splitLines(p,
			func(whole []byte) { eachLine(whole, func(l []byte) { lines = append(lines, string(l)) }) },
			func(piece []byte) { lines = append(lines, string(piece)+SplitMark) })
		held = bytes.Clone(left)
	}
	return lines, string(held)
}

// splitSimply says the same as splitLines, one newline after the other.
func splitSimply(p string) (lines []string, rest string) {
	for {
		i := strings.IndexByte(p, '\n')
		if i < 0 && len(p) <= MaxLine {
			return lines, p
		}
		if i >= 0 && i <= MaxLine {
			lines, p = append(lines, p[:i]), p[i+1:]
			continue
		}
		n := cutAt([]byte(p))
		lines, p = append(lines, p[:n]+SplitMark), p[n:]
	}
}

func chunked(t *rapid.T, p []byte) (chunks [][]byte) {
	for len(p) > 0 {
		n := rapid.IntRange(1, len(p)).Draw(t, "chunk")
		chunks, p = append(chunks, p[:n]), p[n:]
	}
	return chunks
}

// text draws lines whose lengths are usual, or close to what is allowed.
func text(t *rapid.T) []byte {
	length := rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(MaxLine-40, MaxLine+40), rapid.IntRange(0, 3*MaxLine))
	var b bytes.Buffer
	for i := range rapid.IntRange(0, 8).Draw(t, "lines") {
		fill := rapid.SampledFrom([]string{"x", "ä", "€", "🙂", "\x80"}).Draw(t, "fill")
		line := strings.Repeat(fill, length.Draw(t, "length")/len(fill)) + strings.Repeat("y", i%4)
		b.WriteString(line)
		b.WriteByte('\n')
	}
	if rapid.Bool().Draw(t, "unfinished") && b.Len() > 0 {
		b.Truncate(b.Len() - 1)
	}
	return b.Bytes()
}

func TestLinesDoNotDependOnHowTheBytesArrive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := text(t)
		lines, rest := splitAll(chunked(t, p))
		wantLines, wantRest := splitSimply(string(p))
		if !slices.Equal(lines, wantLines) || rest != wantRest {
			t.Fatalf("%d lines and %d bytes unfinished, want %d and %d", len(lines), len(rest), len(wantLines), len(wantRest))
		}
	})
}

func TestLineOfMaxLineIsNotSplitAndOneByteMoreIs(t *testing.T) {
	at := strings.Repeat("x", MaxLine)
	if lines, _ := splitAll([][]byte{[]byte(at + "\nnext\n")}); !slices.Equal(lines, []string{at, "next"}) {
		t.Errorf("a line of MaxLine came out as %d lines", len(lines))
	}
	if lines, _ := splitAll([][]byte{[]byte(at), []byte("\n")}); !slices.Equal(lines, []string{at}) {
		t.Errorf("a line of MaxLine whose newline came later came out as %d lines", len(lines))
	}
	lines, _ := splitAll([][]byte{[]byte(at + "x\nnext\n")})
	if len(lines) != 3 || len(lines[0]) != MaxLine || !strings.HasSuffix(lines[0], SplitMark) || strings.HasSuffix(lines[1], SplitMark) {
		t.Errorf("a line of MaxLine+1 came out as %d lines", len(lines))
	}
}

func TestSplitKeepsCharactersWhole(t *testing.T) {
	for shift := range 4 {
		lines, _ := splitAll([][]byte{[]byte(strings.Repeat("x", shift) + strings.Repeat("🙂", MaxLine/2) + "\n")})
		for i, line := range lines {
			if !utf8.ValidString(line) {
				t.Errorf("shift %d: piece %d is not UTF-8", shift, i)
			}
		}
	}
}

func FuzzSplitLines(f *testing.F) {
	f.Add([]byte("a\nb\n\nc"), uint16(1), uint16(0))
	f.Add([]byte("🙂\n"), uint16(3), uint16(MaxLine/4))
	f.Add([]byte("\x80"), uint16(MaxLine-1), uint16(MaxLine-1))
	f.Fuzz(func(t *testing.T, p []byte, size, repeat uint16) {
		p = bytes.Repeat(p, 1+int(repeat)/4)
		// What is held is copied for each chunk.
		if len(p) > 4*MaxLine || len(p)/(int(size)+1) > 2000 {
			return
		}
		var chunks [][]byte
		for c := range slices.Chunk(p, int(size)+1) {
			chunks = append(chunks, c)
		}
		lines, rest := splitAll(chunks)
		wantLines, wantRest := splitSimply(string(p))
		if !slices.Equal(lines, wantLines) || rest != wantRest {
			t.Fatalf("%d lines and %d bytes unfinished, want %d and %d", len(lines), len(rest), len(wantLines), len(wantRest))
		}
		// Nothing is lost or doubled: without marks and newlines the bytes are the same.
		got := strings.Join(lines, "") + rest
		if !bytes.Contains(p, []byte(SplitMark)) {
			got = strings.ReplaceAll(got, SplitMark, "")
			if got != strings.ReplaceAll(string(p), "\n", "") {
				t.Fatal("bytes were lost or doubled")
			}
		}
		for _, line := range lines {
			if len(line) > MaxLine {
				t.Fatalf("a line of %d bytes", len(line))
			}
		}
	})
}
