package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxEvent bounds one server-sent event: a snapshot is the longest.
const maxEvent = maxAnswer

// Events returns a snapshot and every event after it. The channel is closed when
// ctx has ended or the stream has: whoever wants more asks again. The caller reads
// until then, or ends ctx.
func (c *Client) Events(ctx context.Context) (*Status, <-chan Event, error) {
	resp, err := c.send(ctx, http.MethodGet, "/v1/events", nil, nil) //nolint:bodyclose // closed below: by the reader, or when given up
	if err != nil {
		return nil, nil, err
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxEvent)
	var snapshot Status
	name, _, data, ok := nextMessage(lines)
	if ok && name == "snapshot" {
		err = json.Unmarshal(data, &snapshot)
	}
	if !ok || name != "snapshot" || err != nil {
		_ = resp.Body.Close() // given up
		if ctx.Err() != nil {
			return nil, nil, c.unreachable(ctx, ctx.Err())
		}
		return nil, nil, fmt.Errorf("%w at %s: the event stream does not begin with a snapshot", ErrUnreachable, c.socket)
	}
	events := make(chan Event)
	go func() { // ends with ctx or the stream, and says so by closing the channel
		defer close(events)
		defer func() { _ = resp.Body.Close() }() // read to the end, or given up
		for {
			_, id, data, ok := nextMessage(lines)
			if !ok {
				return
			}
			var e Event
			if json.Unmarshal(data, &e) != nil {
				continue // of a newer gofork, perhaps
			}
			e.Seq, _ = strconv.ParseUint(id, 10, 64)
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return &snapshot, events, nil
}

// nextMessage reads one server-sent event; comments and fields that are not ours
// are skipped.
func nextMessage(lines *bufio.Scanner) (name, id string, data []byte, ok bool) {
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			if data != nil {
				return name, id, data, true
			}
			name, id = "", ""
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			name = value
		case "id":
			id = value
		case "data":
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, value...)
		}
	}
	return "", "", nil, false
}

// Logs returns what a companion printed; the caller closes it.
func (c *Client) Logs(ctx context.Context, target string, lines int, follow bool) (io.ReadCloser, error) {
	q := url.Values{"lines": {strconv.Itoa(lines)}, "follow": {strconv.FormatBool(follow)}}
	resp, err := c.send(ctx, http.MethodGet, companionPath(target, "logs"), q, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Probe asks /livez or /readyz and returns the text of the answer; the error of
// one that says no is an [*Error] with that text.
func (c *Client) Probe(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gofork"+path, http.NoBody)
	if err != nil {
		return "", fmt.Errorf("cannot make the request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return "", c.unreachable(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }() // read to the end, or given up
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return "", c.unreachable(ctx, err)
	}
	text = bytes.TrimSpace(text)
	if resp.StatusCode != http.StatusOK {
		return "", Errorf(resp.StatusCode, CodeUnavailable, "%s", text)
	}
	return string(text), nil
}
