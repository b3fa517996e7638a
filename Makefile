# The targets below are the only commands that README and CI use.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build demo test fuzz e2e cluster-up cluster-down check bench bench-starts bench-cluster image clean

help: ## Print the targets
	@sed -n 's/^\([a-z0-9-]*\): ## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

build: ## Build the static release binary and print where it is
	@tests/support/binary.sh --release

demo: ## Start a plane on this machine, run an example on it with progress, stop it again
	@examples/demo.sh

test: ## Run all tests
	@tests/support/tool.sh kubectl >/dev/null; tests/support/tool.sh helm >/dev/null; tests/support/tool.sh schemathesis >/dev/null; tests/support/tool.sh qinling-python >/dev/null
	@export ERRAND_TEST_ENGINE=1; if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --no-fail-fast; else cargo test --no-fail-fast; fi

fuzz: ## Run each fuzz target for ERRAND_FUZZ_SECONDS (60) on inputs that libFuzzer makes
	@tests/fuzz/run.sh

e2e: ## Start a real Kubernetes on this machine, install the chart, run the cluster tests, take all of it away again
	@e2e/run.sh

cluster-up: ## Start a Kubernetes with Errand on it and leave it running; prints how to use it
	@e2e/run.sh --only-install

cluster-down: ## Stop what cluster-up started
	@e2e/cluster/cluster.sh down

check: ## Check format, lints, generated files, spelling, YAML, shell scripts and dependencies
	cargo fmt --check
	cargo clippy --all-targets --test e2e -- -D warnings
	@tests/support/check.sh

bench: ## Measure the embedded plane and the facade on a release build and print tables
	cargo bench --bench plane --bench facade --bench doors --bench diego

bench-starts: ## Measure on a real Kubernetes how long a Task takes to start beside a bare pod
	@ERRAND_E2E_MEASURE=starts:: e2e/run.sh

bench-cluster: ## Measure Tasks beside Jobs and bare pods on a real API server with hollow nodes and print tables
	@e2e/bench/run.sh

image: ## Build the container image errand:VERSION with docker or buildah, or an archive of it without either
	@tests/support/image.sh

clean: ## Remove what was built
	cargo clean
