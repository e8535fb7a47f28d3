# gofork: `make help` lists the targets.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-builtin-rules

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)

CONFIG    ?= configs/app.toml
PKGS      ?= ./...
TESTFLAGS ?=
# The slowest package is test/ (real processes); go test's own limit is per package.
TIMEOUT   ?= 15m
FUZZTIME  ?= 60s
BENCHTIME ?= 1s
BENCHCOUNT ?= 5
BENCH      ?=
QUICK      ?=
CHAOS_TIME ?= 10m
CHAOS_SEED ?= random
VULNDB     ?= https://vuln.go.dev

# Tools have a module of their own so that users of gofork do not inherit their requirements.
TOOL := go tool -modfile=tools/go.mod

.PHONY: help run build test bench bench-docs microbench picture chaos systemd lint vuln fmt cover fuzz schema clean race-toolchain

help: ## list the targets
	@echo "usage: make TARGET [VARIABLE=value]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build gofork and serve CONFIG (configs/app.toml) in the foreground
	exec bin/gofork serve -c $(CONFIG)

build: ## static binary in bin/gofork
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/gofork ./cmd/gofork

# The end-to-end suites load the machine by themselves: one after the other.
test: race-toolchain ## every test with the race detector (PKGS, TESTFLAGS, TIMEOUT)
	@unit="$$(go list $(PKGS) | grep -vE '/test(/|$$)' || true)"; ends="$$(go list $(PKGS) | grep -E '/test(/|$$)' || true)"; \
	if [ -n "$$unit" ]; then echo "go test -race, packages"; CGO_ENABLED=1 go test -race -timeout $(TIMEOUT) $(TESTFLAGS) $$unit; fi; \
	if [ -n "$$ends" ]; then echo "go test -race -p 1, end to end"; CGO_ENABLED=1 go test -race -p 1 -timeout $(TIMEOUT) $(TESTFLAGS) $$ends; fi

# The race detector is linked through cgo: say so before go build says less.
race-toolchain:
	@cc="$$(go env CC)"; command -v "$${cc%% *}" >/dev/null || { \
	  echo "make test: no C compiler ($$cc): the race detector needs one (apt-get install gcc libc6-dev)" >&2; exit 1; }

# BENCH selects figures by name (boot, start, idle, replace, requests, weight, reload,
# changed, capture; micro for the go benchmarks); none given means all.
bench: build ## what gofork costs, with goals, as a table and in dist/bench.json (BENCH=start,idle QUICK=1)
	@mkdir -p dist
	@case ",$(BENCH)," in ,,|*,micro,*) $(MAKE) --no-print-directory microbench;; esac
	@figures="$$(tr , '\n' <<<'$(BENCH)' | { grep -vx micro || true; } | paste -sd, -)"; \
	if [ -n "$(BENCH)" ] && [ -z "$$figures" ]; then exit 0; fi; \
	go run ./test/bench -gofork bin/gofork -json dist/bench.json -only "$$figures" -quick=$(if $(QUICK),true,false)

bench-docs: ## the figures of dist/bench.json as the tables of docs/comparison.md
	go run ./test/bench/page -json dist/bench.json docs/comparison.md

# Needs node. Takes a quarter of a minute.
picture: build ## docs/reload.svg: every request while a server is reloaded under load
	go run ./test/picture -gofork bin/gofork -o docs/reload.svg

microbench: ## every go benchmark, BENCHCOUNT times, as a table
	@mkdir -p dist
	@dirs="$$({ grep -rlE --include='*_test.go' '^func Benchmark' cmd pkg test || true; } | xargs -r -n1 dirname | sort -u | sed 's|^|./|')"; \
	if [ -z "$$dirs" ]; then echo "bench: no benchmark in the tree"; exit 0; fi; \
	go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) -count $(if $(QUICK),1,$(BENCHCOUNT)) -timeout $(TIMEOUT) $$dirs | tee dist/bench.txt; \
	echo; $(TOOL) benchstat dist/bench.txt

# Not with the race detector: memory is compared. make test has it, for a minute.
chaos: build ## everything that may happen to gofork, at random, under load (CHAOS_TIME, CHAOS_SEED)
	CHAOS_TIME=$(CHAOS_TIME) CHAOS_SEED=$(CHAOS_SEED) GOFORK_BIN=$(CURDIR)/bin/gofork \
	  go test -count=1 -v -timeout 0 ./test/chaos

# Needs root, unshare and systemd. Not part of make test: whether a systemd boots in
# namespaces depends on the machine.
systemd: ## the shipped units under a systemd of their own, in namespaces
	go test -count=1 -v -tags systemd -run UnderSystemd ./test

lint: ## vet for Linux and macOS, then golangci-lint as pinned in tools/go.mod
	@echo "lint: go vet (linux)"
	@GOOS=linux go vet ./...
	@echo "lint: go vet (darwin)"
	@GOOS=darwin CGO_ENABLED=0 go vet ./...
	@echo "lint: $$($(TOOL) golangci-lint version)"
	@$(TOOL) golangci-lint run ./...

# Not part of .ci/run, which needs no network but the package registries.
vuln: ## known vulnerabilities in the code that gofork reaches (VULNDB, a URL; file:// is a copy)
	@failed=0; said="$$($(TOOL) govulncheck -db '$(VULNDB)' ./... 2>&1)" || failed=1; \
	printf '%s\n' "$$said"; \
	if [[ $$said == *"fetching vulnerabilities"* ]]; then \
	  echo "make vuln: nothing was checked: the vulnerability database $(VULNDB) cannot be read from here (a copy: make vuln VULNDB=file:///PATH)" >&2; fi; \
	exit $$failed

fmt: ## gofumpt and the linter's safe fixes
	$(TOOL) golangci-lint fmt ./...
	$(TOOL) golangci-lint run --fix ./...

# Test binaries that run as children would complain without GOCOVERDIR.
cover: ## coverage of pkg by the tests in pkg: dist/coverage.html and the total
	@rm -rf dist/children && mkdir -p dist/children
	GOCOVERDIR=$(CURDIR)/dist/children go test -timeout $(TIMEOUT) -coverpkg=./pkg/... -coverprofile=dist/coverage.out ./pkg/...
	go tool cover -html=dist/coverage.out -o dist/coverage.html
	@go tool cover -func=dist/coverage.out | tail -n 1

# go test -fuzz takes one target of one package at a time. Its processes collect
# garbage before they have half a gigabyte each; without the limit on minimizing it
# spends most of its time on inputs that are only interesting.
fuzz: ## every fuzz target for FUZZTIME
	@found=; while IFS=: read -r file line; do \
	  name="$$(sed -E 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/' <<<"$$line")"; found=1; \
	  echo "fuzz: $$name in $$(dirname "$$file") for $(FUZZTIME)"; \
	  GOMEMLIMIT=512MiB go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s "./$$(dirname "$$file")"; \
	done < <(grep -rE --include='*_test.go' '^func Fuzz' cmd pkg test); \
	[ -n "$$found" ] || echo "fuzz: no fuzz target in the tree"

# Written beside and moved: a gofork that does not build leaves the file as it is.
schema: ## configs/gofork.schema.json, for editors, from the table of keys
	@mkdir -p dist
	go run ./cmd/gofork config schema > dist/gofork.schema.json
	@mv dist/gofork.schema.json configs/gofork.schema.json

clean: ## what the other targets made
	rm -rf bin dist
