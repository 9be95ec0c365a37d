.DEFAULT_GOAL := help
.PHONY: help run test test-all test-long lint bench growth profile microbench load clean

golangci := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## One node on the embedded database, on 127.0.0.1:8080
	go run ./server

test: ## What SQLite and the fake can show, with nothing installed; under a minute
	env -u CI -u TRANCHE_TEST_DSN -u TRANCHE_TEST_GALERA -u TRANCHE_TEST_LONG CGO_ENABLED=0 go test ./...
	@echo 'Not tested: MySQL and MariaDB, whole processes, data races. ./test.sh tests them, too.'

test-all: ## Everything, with the race detector, on a private MariaDB; some minutes
	./test.sh

test-long: ## The same with the long versions of the random and of the system tests
	TRANCHE_TEST_LONG=1 ./test.sh

lint: ## golangci-lint, and the checks of imports, documents and names; changes nothing
	go run $(golangci) run ./...
	cd loadtest/rivals && go run $(golangci) run ./...
	go test -count=1 .

bench: ## Side by side with the rivals, into docs/bench; half an hour, loadtest/bench.sh says how to change that
	./loadtest/bench.sh

growth: ## How cost grows with offers, users, entries, nodes and lease sizes, into docs/bench; half an hour, loadtest/growth.sh says how to shorten it
	./loadtest/growth.sh

profile: ## What a redemption costs, part by part; MODE=strict-limited and others: see loadtest/profile.sh
	./loadtest/profile.sh

microbench: ## The Go benchmarks
	go test -run '^$$' -bench . -benchmem ./...

load: ## k6 against three nodes on a private MariaDB; SCRIPT=burst and others: see loadtest/README.md
	./loadtest/run.sh $(SCRIPT)

clean: ## Remove the installed load generator
	rm -rf .bin
