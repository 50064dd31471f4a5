# `make` lists what there is to make.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

TOOLS := $(abspath $(or $(WIREPHOTO_TOOLS),target/tools))
export WIREPHOTO_TOOLS := $(TOOLS)
export PATH := $(TOOLS)/bin:$(TOOLS)/python/bin:$(PATH)
# Where `make bench-peers` builds what it measures.
export PEERS := $(abspath $(or $(PEERS),target/peers))
# A test that fails shows where.
export RUST_BACKTRACE ?= 1

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the program, target/release/wirephoto
	cargo build --release --locked

.PHONY: test
test: tools build ## Run every test, outside clients and the browser included
	cargo test --locked --doc
	cargo test --locked --all-targets -- --include-ignored 2>&1 | tee $(TOOLS)/test.log
	@awk '/^test result:/ { passed += $$4; failed += $$6 } END { printf "%d passed, %d failed\n", passed, failed }' \
		$(TOOLS)/test.log

.PHONY: conformance
conformance: tools ## Hold Connect, gRPC and gRPC-Web to the Connect conformance suite: no case may fail
	cargo build --locked --example conformance
	connectconformance --mode server --conf tests/conformance/config.yaml -- \
		$${CARGO_TARGET_DIR:-target}/debug/examples/conformance

.PHONY: ci
ci: lint drift test conformance ## All that a change must pass: lint, drift, test, conformance

.PHONY: lint
lint: tools ## Check format, clippy, rustdoc, and the proto's style and compatibility
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps
	buf lint
	buf format --diff --exit-code --exclude-path proto/google
	tests/tools/buf-breaking

.PHONY: generate
generate: tools ## Make the page's code from the proto, and build the page
	npm --prefix web run --silent gen
	npm --prefix web run --silent check
	npm --prefix web run --silent build

.PHONY: drift
drift: ## Check that what is generated and committed is what its sources give
	@made() { find web/src/gen web/dist -type f | sort | xargs sha256sum; }; \
		before=$$(made); $(MAKE) generate; \
		diff <(echo "$$before") <(made) || { echo 'drift: these files changed: commit them'; exit 1; }

.PHONY: h2spec
h2spec: tools ## Hold HTTP/2 against h2spec, over cleartext and TLS
	cargo test --locked --test it -- --include-ignored --nocapture h2spec

FUZZ_SECONDS ?= 20

# Hardly any code is unsafe: without a sanitizer the stable compiler does. Memory and time are bounded all the same.
.PHONY: fuzz
fuzz: ## Give each target of fuzz/ hostile input, for FUZZ_SECONDS (20) each
	@mkdir -p $(TOOLS)/bin
	command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz@0.13.2 --root $(TOOLS)
	cargo fuzz build --sanitizer none
	@for target in $(basename $(notdir $(wildcard fuzz/targets/*.rs))); do \
		mkdir -p fuzz/corpus/$$target; \
		seeds=fuzz/seeds/$$target; [[ -d $$seeds ]] || seeds=tests/data; \
		cargo fuzz run --sanitizer none $$target fuzz/corpus/$$target $$seeds -- -timeout=10 -rss_limit_mb=1024 \
			-max_total_time=$(FUZZ_SECONDS) >$(TOOLS)/fuzz.log 2>&1 || { tail -n 40 $(TOOLS)/fuzz.log; exit 1; }; \
		grep '^Done' $(TOOLS)/fuzz.log | sed "s/^/$$target: /"; \
	done

# What the stable compiler can do with the flag of a nightly one. Maps and system calls are beyond Miri.
.PHONY: sanitize
sanitize: ## Run the tests of unsafe code under AddressSanitizer
	export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address; \
	in="--locked --target $$(rustc -vV | sed -n 's/^host: //p') --target-dir $(or $(CARGO_TARGET_DIR),target)/sanitize"; \
	cargo test $$in --lib -- io:: net:: && cargo test $$in --test it -- truncated cut parity

.PHONY: tools
tools: ## Install what the tests need into target/tools
	@tests/tools/setup

.PHONY: bench-peers
bench-peers: build ## Measure beside nginx and other gRPC servers; ARGS='--only gRPC --rounds 3', ARGS=--help
	benches/peers/build
	$(PEERS)/bench-peers --peers $(PEERS) --wirephoto $(or $(CARGO_TARGET_DIR),target)/release/wirephoto $(ARGS)

.PHONY: image-test
image-test: tools ## Build the container image with buildah from local bases, run it and talk to it (15 minutes)
	tests/tools/image

.PHONY: clean
clean: ## Remove all that was built and installed
	rm -rf target fuzz/target fuzz/corpus fuzz/artifacts web/node_modules tests/web/node_modules examples/typescript/node_modules
	rm -rf examples/*/gen tests/clients/*/gen
