package worker

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Stock returns the handlers of the stock binary by name, a new map at each call.
func Stock() map[string]Factory {
	return map[string]Factory{"hello": Hello, "static": Static, "proxy": Proxy}
}

// ValidateOptions checks the options of a stock handler without touching the
// system, for a configuration check. The handler's factory fails with the same
// errors. Of other handlers nothing is known, so nothing is wrong.
func ValidateOptions(handler string, options map[string]any) error {
	var err error
	switch handler {
	case "hello":
		err = parseHello(options)
	case "static":
		_, err = parseStatic(options)
	case "proxy":
		_, err = parseProxyOptions(options)
	}
	return err
}

func optionError(handler, option string, value any, rule string) error {
	shown := fmt.Sprintf("cannot use %v", value)
	switch v := value.(type) {
	case nil:
		shown = "is missing"
	case string:
		shown = fmt.Sprintf("cannot use %q", v)
	}
	return fmt.Errorf("cannot load handler %q: option %q: %s: %s", handler, option, shown, rule)
}

// onlyOptions refuses options that the handler does not know, the first in
// alphabetical order.
func onlyOptions(handler string, options map[string]any, known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if slices.Contains(known, name) {
			continue
		}
		rule := "the handler takes no options"
		if len(known) > 0 {
			rule = "unknown option, known: " + strings.Join(known, ", ")
		}
		return optionError(handler, name, options[name], rule)
	}
	return nil
}

func parseHello(options map[string]any) error { return onlyOptions("hello", options) }

func parseStatic(options map[string]any) (root string, err error) {
	if err := onlyOptions("static", options, "root"); err != nil {
		return "", err
	}
	root, _ = options["root"].(string)
	if root == "" {
		return "", optionError("static", "root", options["root"], "must be the path of a directory")
	}
	return root, nil
}

// parseProxyOptions accepts one upstream or a list of them.
func parseProxyOptions(options map[string]any) ([]*url.URL, error) {
	if err := onlyOptions("proxy", options, "upstream"); err != nil {
		return nil, err
	}
	value := options["upstream"]
	var list []any
	switch v := value.(type) {
	case string:
		list = []any{v}
	case []string:
		for _, s := range v {
			list = append(list, s)
		}
	case []any:
		list = v
	}
	if len(list) == 0 {
		return nil, optionError("proxy", "upstream", value, `must be a URL such as "http://127.0.0.1:9000" or a list of them`)
	}
	urls := make([]*url.URL, 0, len(list))
	for _, e := range list {
		u, ok := parseUpstream(e)
		if !ok {
			return nil, optionError("proxy", "upstream", withoutPassword(e), "must be http://HOST[:PORT][/PATH] or the same with https, without query or user")
		}
		urls = append(urls, u)
	}
	return urls, nil
}

// withoutPassword is a value that may be shown: a URL with a user is refused, and its
// password is nobody else's business.
func withoutPassword(v any) any {
	text, ok := v.(string)
	if !ok {
		return v
	}
	if u, err := url.Parse(text); err == nil && u.User != nil {
		return u.Redacted()
	}
	return v
}

func parseUpstream(v any) (*url.URL, bool) {
	text, ok := v.(string)
	if !ok {
		return nil, false
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, false
	}
	return u, true
}
