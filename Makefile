# kavachd. `make help` lists what there is; CONTRIBUTING.md says when to use what.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# The tools are pinned by module files of their own and built by the go command; nothing is installed.
# After a first download they run offline.
BUF           := go tool -modfile=tools/buf/go.mod buf
GOLANGCI_LINT := go tool -modfile=tools/lint/go.mod golangci-lint
GOFUMPT       := go tool -modfile=tools/check/go.mod gofumpt
BENCHSTAT     := go tool -modfile=tools/check/go.mod benchstat
export BUF GOLANGCI_LINT GOFUMPT BENCHSTAT

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Knobs, each with its default: make fuzz FUZZTIME=1m, make bench BENCH=Decide COUNT=10, make mutants AREA=cluster.
FUZZTIME ?= 10s
BENCH    ?= .
COUNT    ?= 6
PKG      ?= ./...
AREA     ?=
SOAK     ?=
export FUZZTIME BENCH COUNT PKG SOAK

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/kavachd, one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/kavachd ./cmd/kavachd

.PHONY: run
run: ## start three nodes on loopback and see the quickstart happen (ARGS=--keep leaves them up)
	go run ./integration/quickstart $(ARGS)

.PHONY: test
test: ## what a newcomer runs: vet, unit, vectors, race, three nodes over TCP, make run; 10 minutes at most
	@scripts/test.sh

.PHONY: race
race: ## every test under the race detector (needs a C compiler)
	go test -race -timeout 20m $(PKG)

.PHONY: lint
lint: ## format, vet, golangci-lint, buf lint and breaking, generated code and docs current, go.mod tidy
	@scripts/lint.sh

.PHONY: fmt
fmt: ## format Go and proto files
	$(GOFUMPT) -w $$(git ls-files -co --exclude-standard -- '*.go' ':!gen' ':!models')
	$(BUF) format -w proto

.PHONY: gen
gen: ## generate code from proto/, and the generated pages of docs/
	@scripts/gen.sh

.PHONY: bench
bench: ## run the benchmarks (BENCH=regexp COUNT=6 PKG=./...) into .cache/bench, and compare with the run before
	@scripts/bench.sh

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME each (10s)
	@scripts/fuzz.sh

.PHONY: soak
soak: ## long runs with a bound each (SOAK=name for one of them); figures go to docs/performance.md
	@scripts/soak.sh

.PHONY: mutants
mutants: ## break the code on purpose, file by file, and see that a test notices (AREA=folder for a share)
	go run ./tools/mutants $(if $(AREA),-area $(AREA))

.PHONY: models
models: ## run the model checker's broken variants of the protocols ; models/run.sh has the long runs
	@scripts/models.sh

.PHONY: clean
clean: ## remove what was built, measured and run here (never the Go caches)
	rm -rf bin dist .cache .dev
