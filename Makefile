# The targets below are the only commands that README and CI use.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build demo test check bench image clean

help: ## Print the targets
	@sed -n 's/^\([a-z]*\): ## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

build: ## Build the static release binary and print where it is
	@tests/support/binary.sh --release

demo: ## Start a plane on this machine, run an example on it with progress, stop it again
	@examples/demo.sh

test: ## Run all tests
	@tests/support/tool.sh kubectl >/dev/null; tests/support/tool.sh helm >/dev/null; tests/support/tool.sh schemathesis >/dev/null
	@export ERRAND_TEST_ENGINE=1; if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --no-fail-fast; else cargo test --no-fail-fast; fi

check: ## Check format, lints, generated files, spelling, YAML, shell scripts and dependencies
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	@tests/support/check.sh

bench: ## Measure the embedded plane and the facade on a release build and print tables
	cargo bench --bench plane --bench facade

image: ## Build the container image errand:VERSION from the release binary with docker or buildah
	@tests/support/image.sh

clean: ## Remove what was built
	cargo clean
