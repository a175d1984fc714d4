# SPDX-License-Identifier: BSD-3-Clause

# The two commands that matter: `make demo` does the main job, `make test` passes
# the tests. Both install what is missing.

GO      ?= go
RELEASE ?=
CYCLES  ?= 20
FUZZTIME ?= 1m

export CGO_ENABLED = 0

.PHONY: all build setup demo test test-quick test-guest fuzz lint clean

all: build

build:
	$(GO) build -o bin/ ./cmd/plugsched ./test/demo
	$(MAKE) -s -C test/load

setup:
	./scripts/setup

demo: setup build
	bin/demo -cycles $(CYCLES) $(if $(RELEASE),-release $(RELEASE))

test: setup build lint test-quick test-guest

lint:
	@test -z "$$(gofmt -l cmd internal kernels test *.go)" || { gofmt -l cmd internal kernels test *.go; echo "run gofmt"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags guest ./test/...

# No kernel, no network.
test-quick:
	$(GO) test ./...

# Every fuzz target for FUZZTIME, one after the other.
fuzz:
	GO="$(GO)" ./scripts/fuzz $(FUZZTIME)

# The whole thing: a kernel's packages, builds that must be refused, guests.
test-guest: build
	$(GO) test -tags guest -count=1 -timeout 60m ./test/guest $(if $(RUN),-run $(RUN)) -v

clean:
	rm -rf bin build
	$(MAKE) -s -C test/load clean
