# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := $(if $(VERSION),-ldflags "-X main.tag=$(VERSION)")

# Debian packages: to build and mount, and what the tests use besides.
BUILD_PACKAGES := gcc libc6-dev pkg-config libzmq3-dev fuse3
TEST_PACKAGES   = libczmq-dev $(shell cat integration/programs/packages.txt)

UNITS := ./wire/... ./broker/... ./cluster/... ./fs/... ./cmd/...

WAITING := cluster zgossip sim lab bench soak
PROMPT  := command hangs names programs zpipes

FUZZTIME ?= 30s
SOAKTIME ?= 10m

# The version is ours to set; asking git again fails in a tree of another owner.
export GOFLAGS := $(GOFLAGS) -buildvcs=false

.PHONY: all bin/zpipes build-packages test-packages lint test soak fuzz bench bench-cluster demo clean

all: bin/zpipes

bin/zpipes:
	go build $(LDFLAGS) -o $@ ./cmd/zpipes

build-packages:
	@scripts/packages $(BUILD_PACKAGES)

test-packages:
	@scripts/packages $(BUILD_PACKAGES) $(TEST_PACKAGES)

lint:
	@files=$$(gofmt -l .); if [ "$$files" ]; then echo "not as gofmt writes it:"; echo "$$files"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...

# Everything that must hold, with the race detector, in whole binaries, too; what
# counts allocations runs without it. The last suites measure that an answer comes
# within a second, so they run one after the other; the others wait most of the time.
test: test-packages lint
	go test -count=1 ./wire/... ./broker/...
	go test -count=1 -race $(UNITS)
	GORACE=atexit_sleep_ms=0 go test -count=1 -race -p 3 $(WAITING:%=./integration/%/...)
	GORACE=atexit_sleep_ms=0 go test -count=1 -race -p 1 $(PROMPT:%=./integration/%/...)
	go test -count=1 ./integration/oracle

# Each test named TestSoak..., for SOAKTIME.
soak: test-packages
	@dirs=$$(grep -rl '^func TestSoak' --include='*_test.go' . | xargs -r dirname | sort -u); \
	if [ -z "$$dirs" ]; then echo "no soak tests"; exit 1; fi; \
	ZPIPES_SOAK=$(SOAKTIME) go test -count=1 -timeout 0 -v -run '^TestSoak' $$dirs

# Each fuzz target, for FUZZTIME.
fuzz: build-packages
	@grep -rHo '^func Fuzz[A-Za-z0-9_]*' --include='*_test.go' . | while IFS=: read -r file func; do \
		dir=$$(dirname "$$file"); target=$${func#func }; \
		echo "$$dir $$target"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$dir" </dev/null || exit 1; \
	done

bench: build-packages bin/zpipes
	go run ./integration/bench
	go test -run '^$$' -bench . -benchmem ./broker/pipe ./wire/...

# Two hosts, against other ways from host to host. It takes root.
bench-cluster: build-packages bin/zpipes
	@scripts/packages iproute2 socat netcat-openbsd
	go run ./integration/bench -cluster -rounds 3

demo: build-packages bin/zpipes
	@scripts/demo

clean:
	rm -rf bin
	go clean -testcache
