# make help lists the targets.

GO          ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
VULNDB      := v0.0.0-20261105234957-e22db6528018
TIMEOUT     ?= 20m
ifndef VERSION
VERSION     := $(shell deploy/version 2>/dev/null || echo 0+unversioned)
endif

# What make bench hands on: make bench SCENARIO=fanout PEERS=gateway,node RUNS=1
export SCENARIO PEERS RUNS

# The benchmark suite is a module of its own (go.work).
ALL     := ./... ./bench/...

JS      := internal/e2e/js
PAGE    := internal/console/page

.DEFAULT_GOAL := help
.PHONY: help run dev build package image test test-quick test-watch coverage docs lint vulncheck bench soak attack chaos simulate console-client mutants clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Start the gateway on port 3002
	$(GO) run ./cmd/gateway

dev: ## Start it, and restart it whenever a source file or .env changes
	@.ci/watch serve

build: ## Build the static binary bin/gateway
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.release=$(VERSION)' -o bin/gateway ./cmd/gateway

package: build ## Build the Debian package in bin/
	@deploy/deb/build "$(VERSION)" "$$($(GO) env GOARCH)" bin/gateway bin

image: ## Build the container image hometrip/websocket-gateway
	docker build --build-arg VERSION=$(VERSION) -t hometrip/websocket-gateway .

test: ## Install what the tests need and run them all
	@.ci/setup
	@# -count=1: the Go tool does not see that a test builds the gateway, and would call
	@# a run of the code before the last change a pass.
	@TEST_ALL=true $(GO) test -count=1 -race -timeout $(TIMEOUT) $(ALL)

test-quick: ## Run the tests that need nothing but Go, without the slow ones, and list what was skipped
	@out=$$(mktemp) && trap 'rm -f "$$out"' EXIT; \
	$(GO) test -v ./... >"$$out" 2>&1; code=$$?; \
	if [ $$code = 0 ]; then grep '^ok' "$$out"; else cat "$$out"; fi; \
	echo "skipped tests, by reason:"; \
	grep -ohE '[^ ]+ is not installed|slow: .*' "$$out" | sort | uniq -c | sort -rn; \
	exit $$code

test-watch: ## Run the tests of changed packages after each change
	@.ci/setup
	@.ci/watch test

coverage: ## Run all tests; coverage.html shows what they reach
	@.ci/setup
	TEST_ALL=true $(GO) test -timeout $(TIMEOUT) -coverpkg=./... -coverprofile=coverage.out $(ALL)
	$(GO) tool cover -html=coverage.out -o coverage.html
	$(GO) tool cover -func=coverage.out | tail -1

docs: ## Write the generated tables of docs/ and .env.example
	@$(GO) test -count=1 -run '^TestGeneratedDocs$$' ./cmd/gateway -update

lint: ## gofmt, go vet, staticcheck
	@files=$$(git ls-files --cached --others --exclude-standard '*.go' | xargs gofmt -l); \
	if [ -n "$$files" ]; then echo "not formatted:"; echo "$$files"; exit 1; fi
	$(GO) vet $(ALL)
	@# Some error texts are what clients are told, capitals included.
	$(GO) run $(STATICCHECK) -checks inherit,-ST1005 $(ALL)

# The database comes as a Go module, so that it can be had wherever modules
# can; VULNDB is its day.
vulncheck: ## Look for known vulnerabilities in the code that is called, standard library included
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	module=$$($(GO) mod download -json golang.org/x/vulndb@$(VULNDB) | sed -n 's/^\t"Dir": "\(.*\)",$$/\1/p') && \
	$(GO) run golang.org/x/vulndb/cmd/indexdb@$(VULNDB) -vulns "$$module/data/osv" -out "$$dir" && \
	$(GO) run $(GOVULNCHECK) -db "file://$$dir" ./...

bench: ## Measure the gateway beside its peers (SCENARIO=, PEERS=, RUNS=, ARGS=)
	$(GO) run ./bench $(ARGS)

soak: ## Run the gateway under load for long and watch what grows (SOAK=10m)
	$(GO) run ./bench -scenario soak -peers gateway -runs 1 $(if $(SOAK),-soak $(SOAK)) $(ARGS)

console-client: ## Copy socket.io-client, and its licences, from npm into the console
	@.ci/setup
	@# Without their source maps, which browsers would ask for in vain.
	sed '/^\/\/# sourceMappingURL=/d' $(JS)/node_modules/socket.io-client/dist/socket.io.esm.min.js >$(PAGE)/socket.io.esm.min.js
	sed '/^\/\/# sourceMappingURL=/d' $(JS)/node_modules/socket.io-client/dist/socket.io.min.js >$(PAGE)/../client/socket.io.min.js
	for package in socket.io-client socket.io-parser engine.io-client engine.io-parser @socket.io/component-emitter; do \
		echo "$$package, in socket.io.esm.min.js"; echo; cat $(JS)/node_modules/$$package/LICENSE; echo; \
	done >$(PAGE)/licences.txt

attack: ## Attack the gateway while 1,000 good clients chat (ROWS=, ARGS=)
	$(GO) run ./bench/attack -rows "$(ROWS)" $(ARGS)

chaos: ## Kill, stop and disconnect gateways, Redis and RabbitMQ, and account for every event (SEED=, ARGS=)
	$(GO) run ./bench/chaos $(if $(SEED),-seed $(SEED)) $(ARGS)

simulate: ## Run simulated fleets with faults (SEED=, SEEDS=, FOR=, NODES=, CLIENTS=, TRACE=1, RUN=, REPORT=)
	@$(GO) run ./bench/simulate $(if $(SEED),-seed $(SEED)) $(if $(SEEDS),-seeds $(SEEDS)) $(if $(FOR),-for $(FOR)) \
		$(if $(NODES),-nodes $(NODES)) $(if $(CLIENTS),-clients $(CLIENTS)) $(if $(TRACE),-trace) \
		$(if $(RUN),-run '$(RUN)') $(if $(REPORT),-report $(REPORT)) $(ARGS)

mutants: ## Have the simulation find each of the faults put into the code (5 minutes)
	MUTANTS=1 $(GO) test -count=1 -timeout $(TIMEOUT) -v ./internal/simulation/mutants

clean: ## Remove what the other targets made
	rm -rf bin coverage.out coverage.html logs $(JS)/node_modules
