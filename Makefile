# make demo    serve real clients and print what came of it
# make test    all tests; as root with nothing skipped
# make soak    what tests do in short form at length: three hours; as root
# make bench   measure beside the kernel and others, a quarter of an hour; as root
#
# They do their own set-up on a Debian machine with Go. Without root they do
# without what needs root, and say what that was.

export GOFLAGS := $(GOFLAGS) -buildvcs=false

# Tests measure the CPU of an idle server and compare modes: packages run one
# after the other, so that they do not measure each other. What the kernel does is
# no input that the cache of results knows.
TESTFLAGS ?= -p 1 -count=1 -timeout 10m
FUZZTIME  ?= 30s

BENCHFLAGS ?= --duration 1s --repeat 3

SOAKSEEDS ?= 10000
SOAKTIME  ?= 10m
SOAKFUZZ  ?= 20m
SOAK      := SHARDNET_SOAK=1 SHARDNET_SEEDS=$(SOAKSEEDS) SHARDNET_SOAK_TIME=$(SOAKTIME) \
	go run ./test/gotest -p 1 -count=1 -timeout 0

.PHONY: demo test soak bench build pgo generate lint fuzz

demo: build
	./bin/shardnet demo

test:
	sh test/setup.sh test
	go build ./...
	go run ./test/gotest $(TESTFLAGS) ./...

# Simulations with SOAKSEEDS seeds, the conversations that wait for minutes, a gibibyte
# each way through loss, connections of all kinds for SOAKTIME (with the race detector,
# and without, for the sake of the memory), and SOAKFUZZ of each fuzz target of the TCP.
soak:
	sh test/setup.sh test
	$(SOAK) ./stack/tcp ./test/sim ./test/wire
	$(SOAK) -v -run UnderLoss ./test/e2e
	$(SOAK) -v -race ./test/soak
	$(SOAK) -v ./test/soak
	sh test/fuzz.sh $(SOAKFUZZ) ./stack/tcp

# Nothing else should run on the machine meanwhile. The report is bin/bench.html;
# the tables of BENCHMARKS.md are made from the same figures.
bench: build
	sh test/setup.sh test
	./bin/shardnet bench $(BENCHFLAGS) --json bin/bench.json --html bin/bench.html --markdown BENCHMARKS.md

# The profile is worth some 5 % to TCP; "make pgo" makes it anew.
build:
	go build -pgo cmd/shardnet/shardnet.pgo -o bin/shardnet ./cmd/shardnet

pgo: build
	./bin/shardnet bench --run 'udp-*,memcached-*,tcp-*,bulk-*' --servers 'handler*,conn*' --repeat 1 --duration 3s --profiles bin/profiles
	go tool pprof -proto bin/profiles/*.prof >cmd/shardnet/shardnet.pgo

# Compiles the XDP program; its object is committed, so that nobody else needs clang.
generate:
	sh test/setup.sh generate
	go generate ./driver/...

# The import rules of .golangci.yml are held by test/arch, which runs with the tests.
lint:
	test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	if command -v golangci-lint >/dev/null; then golangci-lint run ./...; fi

fuzz:
	sh test/fuzz.sh $(FUZZTIME)
