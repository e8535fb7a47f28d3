package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/joho/godotenv"
)

// maxEnvFile bounds a dotenv file.
const maxEnvFile = 1 << 20

// envFile is a dotenv file read once, however many companions name it.
type envFile struct {
	vars map[string]string
	err  error
}

// readEnvFiles merges dotenv files, later wins. at is the key of the list.
func (l *resolver) readEnvFiles(at string, paths []string, into map[string]string) {
	for i, p := range paths {
		p = l.abs(p)
		f, seen := l.envFiles[p]
		if !seen {
			f.vars, f.err = readEnvFile(p)
			l.envFiles[p] = f
		}
		if f.err != nil {
			l.bad(index(at, i), paths[i], "cannot read "+p+": "+f.err.Error())
		}
		maps.Copy(into, f.vars)
	}
}

// readEnvFile reads one file. Its errors never show its content.
func readEnvFile(path string) (map[string]string, error) {
	if err := regular(path); err != nil {
		return nil, err
	}
	data, err := readAll(path, maxEnvFile)
	if err != nil {
		return nil, err
	}
	return parseEnvFile(data)
}

func parseEnvFile(data []byte) (map[string]string, error) {
	vars, err := godotenv.UnmarshalBytes(data)
	if err != nil {
		if line := brokenLine(data); line > 0 {
			return nil, fmt.Errorf("line %d is not NAME=VALUE, or has an open quote", line)
		}
		return nil, errors.New("a line is not NAME=VALUE, or has an open quote")
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if name == "" {
			return nil, errors.New("a line is not NAME=VALUE")
		}
		if strings.ContainsAny(name, "=\x00 \t\r\n") {
			return nil, fmt.Errorf("%q is not the name of a variable", name)
		}
		if strings.IndexByte(vars[name], 0) >= 0 {
			return nil, fmt.Errorf("the value of %s has a NUL byte", name)
		}
	}
	return vars, nil
}

// brokenLine finds the statement that cannot be read, 0 when that would take too
// long. A value may go over several lines, so that not every line that fails alone is
// wrong: it is the one from which on no beginning of the rest can be read.
func brokenLine(data []byte) int {
	const longest = 1000 // the search is quadratic from that line on
	ls := bytes.SplitAfter(data, []byte("\n"))
	if len(ls) > longest {
		return 0
	}
	good, begin, end := 0, 0, 0 // begin is where the line after good begins
	for i, line := range ls {
		end += len(line)
		if _, err := godotenv.UnmarshalBytes(data[begin:end]); err == nil {
			good, begin = i+1, end
		}
	}
	return good + 1
}

// regular refuses what is no plain file: a directory, or a pipe that nobody may fill.
func regular(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return cause(err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	return nil
}

// fileSum is the digest of a hash file.
type fileSum struct {
	sum string
	err error
}

// hashFiles reads the files that count as part of a companion's spec.
func (l *resolver) hashFiles(at string, paths []string) []HashFile {
	var files []HashFile
	for i, p := range paths {
		p = l.abs(p)
		f, seen := l.sums[p]
		if !seen {
			f.sum, f.err = sumFile(p)
			l.sums[p] = f
		}
		if f.err != nil {
			l.bad(index(at, i), paths[i], "cannot read "+p+": "+f.err.Error())
		}
		files = append(files, HashFile{Path: p, Sum: f.sum})
	}
	return files
}

func sumFile(path string) (string, error) {
	if err := regular(path); err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", cause(err)
	}
	defer f.Close() // nothing was written
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", cause(err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
