package config

import (
	"slices"
	"syscall"
	"time"
)

func (l *resolver) resolveWorker(raw any) *Worker {
	v := l.read("worker", "worker", raw, nil)
	given, isTable := raw.(map[string]any)
	http := l.read("worker.http", "worker.http", given["http"], nil)
	w := &Worker{
		Process:           l.process(v),
		Handler:           get[string](v, "handler"),
		Options:           get[map[string]any](v, "options"),
		Count:             int(get[count](v, "count")),
		Ready:             get[string](v, "ready"),
		ReadyAfter:        get[time.Duration](v, "ready_after"),
		BootTimeout:       get[time.Duration](v, "boot_timeout"),
		Timeout:           get[time.Duration](v, "timeout"),
		AbortGrace:        get[time.Duration](v, "abort_grace"),
		DrainDelay:        get[time.Duration](v, "drain_delay"),
		RequestTimeout:    get[time.Duration](v, "request_timeout"),
		MaxRequests:       get[int](v, "max_requests"),
		MaxRequestsJitter: get[int](v, "max_requests_jitter"),
		MaxSurge:          get[MaxSurge](v, "max_surge"),
		BootRetries:       get[int](v, "boot_retries"),
		StopSignal:        get[syscall.Signal](v, "stop_signal"),
		ReopenSignal:      get[syscall.Signal](v, "reopen_signal"),
		Watch:             l.absAll(get[[]string](v, "watch")),
		HTTP: HTTP{
			TLSCert:           l.abs(get[string](http, "tls_cert")),
			TLSKey:            l.abs(get[string](http, "tls_key")),
			TrustedProxies:    get[[]string](http, "trusted_proxies"),
			ProxyProtocol:     get[bool](http, "proxy_protocol"),
			MaxHeader:         get[int64](http, "max_header"),
			MaxBody:           get[int64](http, "max_body"),
			ReadHeaderTimeout: get[time.Duration](http, "read_header_timeout"),
			ReadTimeout:       get[time.Duration](http, "read_timeout"),
			WriteTimeout:      get[time.Duration](http, "write_timeout"),
			IdleTimeout:       get[time.Duration](http, "idle_timeout"),
		},
	}
	if w.CountAuto = w.Count == 0; w.CountAuto {
		w.Count = max(l.host.cpus(), 1)
	}
	if isTable {
		l.eitherOr(v, "handler", l.known.Handlers)
	}
	if isTable && w.Handler != "" && l.known.HandlerOptions != nil && slices.Contains(l.known.Handlers, w.Handler) && v.sound("options", "handler") {
		if err := l.known.HandlerOptions(w.Handler, w.Options); err != nil {
			l.bad("worker.options", nil, err.Error())
		}
	}
	if w.Handler == "" && (v.given("command") || v.failed["command"]) {
		l.refuseHandlerKeys(v)
		l.refuseHandlerKeys(http)
	}
	if w.Ready == "alive" && w.ReadyAfter > w.BootTimeout && v.sound("ready", "ready_after", "boot_timeout") {
		l.bad("worker.ready_after", w.ReadyAfter, `must be at most boot_timeout, which is `+FormatDuration(w.BootTimeout)+`: with ready = "alive" no worker would ever be ready`)
	}
	if http.sound("tls_cert", "tls_key") && (w.HTTP.TLSCert == "") != (w.HTTP.TLSKey == "") {
		l.bad("worker.http", nil, "tls_cert and tls_key must be set together")
	}
	return w
}

// refuseHandlerKeys refuses keys that a command worker cannot obey.
func (l *resolver) refuseHandlerKeys(v *values) {
	for name, value := range v.own {
		if v.table.keys[name].Handler && !sameValue(value, v.table.defaults[name]) {
			l.bad(v.at(name), v.raw[name], "is for handler workers only")
		}
	}
}
