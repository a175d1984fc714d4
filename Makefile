# SPDX-License-Identifier: BSD-3-Clause

# The two commands that matter: `make demo` does the main job, `make test` runs the tests
# that a change has to pass. Both install what is missing.

GO      ?= go
RELEASE ?=
CYCLES  ?= 20
FUZZTIME ?= 1m

# Of the linters; `go run` keeps their dependencies out of go.mod.
STATICCHECK = $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
ERRORLINT   = $(GO) run github.com/polyfloyd/go-errorlint@v1.8.0
MISSPELL    = $(GO) run github.com/golangci/misspell/cmd/misspell@v0.7.0
GOVULNCHECK = $(GO) run golang.org/x/vuln/cmd/govulncheck@v1.8.0 $(if $(GOVULNDB),-db $(GOVULNDB))

# All of them only add files (policy_test.go): with them, linters see what is there.
TAGS = guest,fleet,kernels,examples,patches,ibt,own,sources

# Runs a target's command and notes its time. Its exit code is the command's.
TIMED = bin/times

export CGO_ENABLED = 0

.PHONY: test-all all build bpf man setup demo soak examples bench test times bin/times test-quick test-race test-guest test-guest-kernels test-kernels test-debian test-examples test-patches test-fleet test-ibt test-sources test-own-kernel test-debug-kernel test-foreign test-host fuzz lint clean

all: build

build:
	$(GO) build -o bin/ ./cmd/plugsched ./test/demo ./test/soak ./test/examples ./test/living
	$(GO) build -trimpath -ldflags=-s\ -w -o bin/ ./cmd/plugsched-installer
	$(MAKE) -s -C test/load
	$(MAKE) -s -C test/killat
	$(MAKE) -s -C test/pulse
	$(MAKE) -s -C test/annoy

# Manual pages and shell completions, as below /usr/share.
man: build
	bin/plugsched man build/share

setup:
	./scripts/setup

demo: setup build
	bin/demo -cycles $(CYCLES) $(if $(RELEASE),-release $(RELEASE),-suite stable)

# A thousand installs and removals; the figures go into docs/operate/reliability.md.
soak: setup build
	bin/soak $(if $(RELEASE),-release $(RELEASE)) $(SOAKFLAGS)

# The schedulers in BPF, which are checked in. Only who changes their C needs the compiler.
bpf:
	./scripts/setup clang-14:clang-14 llvm-14:llvm-strip-14
	$(GO) generate ./scx

# Size and downtime of examples/; the figures go into examples/README.md.
examples: setup build
	bin/examples $(if $(RELEASE),-release $(RELEASE)) $(EXAMPLESFLAGS)

# What examples are measured beside the unmodified scheduler, and kernels whose analysis is.
BENCHED  ?= no-bandwidth tiny
ANALYSED ?= 5.10.0-43-cloud-amd64:bullseye 6.1.0-57-cloud-amd64 6.12.118+deb13-cloud-amd64:trixie 7.3.4+deb13-cloud-amd64:trixie-backports

# What an update takes and what that depends on; docs/operate/performance.md is written.
bench: setup build
	@test -n "$(RELEASE)" || { echo "of which kernel? make bench RELEASE=6.1.0-57-cloud-amd64"; exit 2; }
	NEWER_QEMU=1 ./scripts/setup
	bin/plugsched init --release $(RELEASE) build/bench/unmodified
	for e in $(BENCHED); do ./scripts/example $(RELEASE) $$e build/bench/$$e || exit; done
	bin/plugsched bench --qemu build/tools/qemu/usr/bin/qemu-system-x86_64 --output build/bench $(BENCHED:%=--also build/bench/%) $(ANALYSED:%=--analyse %) \
		$(BENCHFLAGS) build/bench/unmodified
	cp build/bench/bench.md docs/operate/performance.md

# What a change has to pass. Of the Debian guests and the kernels, those that fit into half
# an hour; no example, no fleet, no soak. It ends, also when it fails, with a table of where
# the time went.
test: export PLUGSCHED_NEED_TOOLS = 1
test: bin/times
	rm -rf build/times
	@code=0; { \
		$(TIMED) setup $(MAKE) setup && \
		$(TIMED) build $(MAKE) build && \
		$(TIMED) lint $(MAKE) lint && \
		$(MAKE) test-quick && \
		$(MAKE) test-race && \
		$(MAKE) test-guest && \
		$(MAKE) test-debian RUN='"TestLive|TestDeb"' && \
		$(MAKE) test-kernels KERNELS="6.1-cloud 6.12-cloud"; \
	} || code=$$?; bin/times; exit $$code

# All of it, every case of every test: hours.
test-all: export FULL = 1
test-all:
	$(MAKE) test
	$(MAKE) test-guest RELEASE=6.12
	$(MAKE) test-guest-kernels
	$(MAKE) test-debian
	$(MAKE) test-kernels
	$(MAKE) test-examples
	$(MAKE) test-examples RELEASE=6.12 RUN='"TestExample(Tiny|Identity)"'
	$(MAKE) test-examples RELEASE=7.3.4+deb13-cloud-amd64 RUN='"TestExample(Tiny|Identity)"'
	$(MAKE) test-patches
	$(MAKE) test-ibt
	$(MAKE) test-sources
	$(MAKE) test-own-kernel
	$(MAKE) test-debug-kernel
	$(MAKE) test-foreign
	$(MAKE) test-host
	$(MAKE) test-fleet

# Where the time of the last `make test` went, and of targets since; as JSON in build/times.
times: bin/times
	@bin/times

bin/times:
	@$(GO) build -o $@ ./test/times

# What it looks for beside the defaults is in staticcheck.conf; line length and imports are in
# policy_test.go.
lint:
	@test -z "$$(gofmt -l cmd examples ghost internal kernels scx test *.go)" || { gofmt -l cmd examples ghost internal kernels scx test *.go; echo "run gofmt"; exit 1; }
	$(GO) vet -tags $(TAGS) ./...
	$(STATICCHECK) -tags $(TAGS) ./...
	$(ERRORLINT) -tags $(TAGS) ./...
	$(MISSPELL) -error -i rela $$(git ls-files -- '*.go' '*.c' '*.h' '*.md' '*.sh' '*.yml' '*.yaml' Makefile scripts)
	./scripts/vulncheck $(GOVULNCHECK) -tags $(TAGS) -test ./...

# No kernel, no network. What needs a tool that `make setup` fetches is left out without it.
test-quick: bin/times
	$(TIMED) $@ $(GO) test ./...
	@test -x build/tools/promtool || command -v promtool >/dev/null || \
		echo "******** there is no promtool (make setup): TestPromtool was skipped ********"
	@command -v clang-14 >/dev/null && command -v llvm-strip-14 >/dev/null || \
		echo "******** there is no clang 14 (make bpf): TestObjects was skipped ********"

# The packages with goroutines, under the race detector. It needs cgo.
RACY = ./internal/guest/vm/... ./internal/kernel/fetch ./internal/kernel/image ./internal/guest/agent ./internal/develop/project ./cmd/plugsched

test-race: bin/times
	CGO_ENABLED=1 $(TIMED) $@ $(GO) test -race $(RACY)

# Every fuzz target for FUZZTIME, one after the other.
fuzz:
	GO="$(GO)" ./scripts/fuzz $(FUZZTIME)

# The whole thing: a kernel's packages, builds that must be refused, guests. RELEASE is a
# kernel, or a series of which the newest is taken.
# One more than there are CPUs: a guest often waits for a time that its test is about.
test-guest: build bin/times
	$(TIMED) $@ $(GO) test -tags guest -count=1 -timeout 60m -parallel $$(($$(nproc) + 1)) ./test/guest $(if $(RUN),-run $(RUN)) -v

# The guest tests that test/kernels/testdata names for other kernels, each with its own.
test-guest-kernels: build bin/times
	@code=0; for k in $$(awk '/^release:/ { r = $$2 } /^guest:/ { print r "=" $$2 }' test/kernels/testdata/*.yaml); do \
		$(TIMED) $@ $(GO) test -tags guest -count=1 -timeout 150m ./test/guest -release "$${k%%=*}" -run "$${k#*=}" -v || code=$$?; \
	done; exit $$code

# Packages, systemd, reboots and crashes, in guests with a Debian on their disk.
test-debian: build bin/times
	$(TIMED) $@ $(GO) test -tags guest -count=1 -timeout 60m ./test/debian $(if $(RUN),-run $(RUN)) -v

# Roll-outs of packages with Ansible, over three such guests. It takes too long to be
# part of `make test`.
test-fleet: build bin/times
	./scripts/setup ansible-core:ansible-playbook openssh-client:ssh
	python3 -m unittest discover -s ansible/tests/unit
	$(TIMED) $@ $(GO) test -tags guest,fleet -count=1 -timeout 150m ./test/debian -run TestFleet -v

# That no landing instruction is missed where the processor looks for them: in bochs, as QEMU's
# emulated processors have no indirect branch tracking. On one CPU, some ten minutes. Then what
# kernels make of a module's code under mitigations, in QEMU.
test-ibt: build bin/times
	./scripts/setup bochs:bochs-bin bochs-term: bochsbios: vgabios: isolinux: syslinux-common: xorriso:xorriso
	$(TIMED) $@ $(GO) test -tags guest,ibt -count=1 -timeout 150m ./test/guest -run 'TestIBT|TestWrongPointer|TestMitigations' -release $(or $(RELEASE),6.12) -v

# Kernels from RPM packages, and debug symbols from a debuginfod server: of a real kernel's files.
test-sources: build bin/times
	./scripts/setup rpm:rpmbuild
	$(TIMED) $@ $(GO) test -tags sources -count=1 -timeout 60m ./test/sources -v

# The guests' own tests on a stock arm64 kernel, in an emulated machine.
test-foreign: bin/times
	./scripts/setup qemu-system-arm:qemu-system-aarch64
	$(TIMED) $@ scripts/test-foreign $(RUN)

# A kernel that is nobody's package, in the tree that it was built in: compiled once, in 15 minutes of
# two CPUs, and kept below build/own. Then what is special about it, and install, replacement, trial and removal.
OWN_TESTS = 'TestOwn.*|TestTakesEffect|TestReplace|TestTrial|TestNothingStays'
test-own-kernel: build bin/times
	tree=$$(./scripts/own-kernel test/own/own.config) && \
	release=$$(cat $$tree/include/config/kernel.release) && \
	$(TIMED) $@ $(GO) test -tags guest,own -count=1 -timeout 60m ./test/guest -release $$release -init "--tree $$tree" \
		-run $(or $(RUN),$(OWN_TESTS)) -v

# Updates of each kind in a kernel that looks after its locks, objects, lists and memory: likewise compiled once,
# in some minutes.
test-debug-kernel: build bin/times
	tree=$$(./scripts/own-kernel test/own/debug.config) && \
	release=$$(cat $$tree/include/config/kernel.release) && \
	$(TIMED) $@ $(GO) test -tags guest,own -count=1 -timeout 90m ./test/guest -release $$release -init "--tree $$tree" -run TestChecked -v

# The two commands of README on a Debian of another suite than this machine's, unpacked below build/host.
test-host: bin/times
	$(TIMED) $@ scripts/on-debian $(or $(SUITE),trixie) sh -c 'make demo && make test'

# That each of examples/ takes effect. On other kernels than 6.1 RUN names those that are ported.
test-examples: build bin/times
	$(TIMED) $@ $(GO) test -tags guest,examples -count=1 -timeout 60m ./test/guest -run $(or $(RUN),TestExample) -v

# What becomes of upstream's own changes of the scheduler: test/patches, half an hour.
test-patches: build bin/times
	$(TIMED) $@ $(GO) test -tags guest,patches -count=1 -timeout 150m ./test/guest -run TestPatches -v

# The analysis of every kernel in test/kernels/testdata, or of those in KERNELS.
# All of them: 2.9 GB to download, 4 GB in the cache.
test-kernels: build bin/times
	$(TIMED) $@ $(GO) test -tags kernels -count=1 -timeout 60m ./test/kernels $(if $(KERNELS),-kernels "$(KERNELS)") -v

clean:
	rm -rf bin build
	$(MAKE) -s -C test/load clean
	$(MAKE) -s -C test/killat clean
	$(MAKE) -s -C test/pulse clean
	$(MAKE) -s -C test/annoy clean
