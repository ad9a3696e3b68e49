# labctl: `make help` lists what can be made.
GO ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
# The embedded engine needs root; VirtualBox must not run as root.
SUDO := $(shell [ "$$(id -u)" -eq 0 ] || command -v VBoxManage >/dev/null || echo sudo)

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

lab: deps build ## install what is missing, make the lab, run scenario 4-1
	$(SUDO) bin/labctl create
	$(SUDO) bin/labctl scenario lb
	@echo
	@echo "The lab stands. Next:"
	@echo "  $(strip $(SUDO) bin/labctl ssh docker1)        a shell on the manager"
	@echo "  $(strip $(SUDO) bin/labctl status)             what runs"
	@echo "  $(strip $(SUDO) bin/labctl scenario list)      more to try"
	@echo "  $(strip $(SUDO) bin/labctl destroy)            take it all down"

deps: ## install the packages that labctl needs (Debian, Ubuntu)
	@./deps.sh

build: ## build bin/labctl
	$(GO) build -trimpath -ldflags '-X labctl/internal/cli.version=$(VERSION)' -o bin/labctl ./cmd/labctl

check: lint ## format, vet, linters, unit and testscript tests: under two minutes
	$(GO) test -race -timeout 110s $$($(GO) list ./... | grep -v /test/e2e)

lint: ## gofmt, go vet, staticcheck, errcheck, shellcheck, tidy go.mod, other platforms
	@out=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); [ -z "$$out" ] || { echo "gofmt: run gofmt -w $$out"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) tool errcheck ./...
	shellcheck $$(git ls-files -co --exclude-standard '*.sh') .ci/run
	$(GO) mod tidy -diff
	GOOS=windows $(GO) build ./...
	GOOS=darwin $(GO) build ./...

# No part of lint: it needs the database of Go's vulnerabilities.
VULNDB ?= https://vuln.go.dev
vuln: ## look for known weaknesses in the Go code and what it uses: needs the network
	@curl -fsS -m 20 -o /dev/null $(VULNDB)/index/db.json || { echo "make vuln: the vulnerability database $(VULNDB) cannot be reached from here; VULNDB= names another one" >&2; exit 1; }
	$(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0 -db $(VULNDB) ./...

test: ## everything: make check, then the suite on real VMs
	@./deps.sh test
	$(MAKE) check
	LABCTL_E2E=required $(GO) test -count=1 -v -timeout 75m ./test/e2e

# Hours: it ends in order at Ctrl-C.
CYCLES ?= 50
soak: ## run all scenarios again and again on one lab and look for leaks; CYCLES=3 is shorter
	LABCTL_E2E=required LABCTL_SOAK=$(CYCLES) $(GO) test -count=1 -v -timeout 0 -run '^TestSoak$$' ./test/e2e

bench: build ## measure labctl against the plain way on real VMs; BENCH=-quick is shorter
	$(GO) build -o bin/bench ./test/bench
	$(SUDO) bin/bench -labctl bin/labctl $(BENCH)

clean: ## remove bin/
	rm -rf bin

# The folder bench/ holds results.
.PHONY: help lab deps build check lint vuln test soak bench clean
