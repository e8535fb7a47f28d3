package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"os"
)

// maxEnvFile bounds a dotenv file.
const maxEnvFile = 1 << 20

// envFile is a dotenv file read once, however many companions name it.
type envFile struct {
	vars map[string]string
	err  error
}

// readEnvFiles merges dotenv files, later wins, and returns their paths. at is the key of
// the list.
func (l *resolver) readEnvFiles(at string, paths []string, into map[string]string) []string {
	for i, p := range paths {
		p = l.abs(p)
		f, seen := l.envFiles[p]
		if !seen {
			f.vars, f.err = l.readEnvFile(p)
			l.envFiles[p] = f
		}
		if f.err != nil {
			l.bad(index(at, i), paths[i], "cannot read "+p+": "+f.err.Error())
		}
		maps.Copy(into, f.vars)
	}
	return l.absAll(paths)
}

// readEnvFile reads one file. Its errors never show its content, but for the name of
// a variable that is not set.
func (r *reader) readEnvFile(path string) (map[string]string, error) {
	if err := regular(path); err != nil {
		return nil, err
	}
	data, err := readAll(path, maxEnvFile)
	if err != nil {
		return nil, err
	}
	return parseEnvFile(string(data), r.environ)
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
