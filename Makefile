# Where the programs listen, and what is served: make serve ROOT=/some/site LISTEN=127.0.0.1:9000
LISTEN ?= 127.0.0.1:8080
ROOT ?= experiments/site

# How long the comparison with other programs measures, and which of its rows: make peers ROWS=c1000,idle
ROUNDS ?= 5
SECONDS ?= 3
ROWS ?=
PEERS_FLAGS ?=

neraca = $(or $(CARGO_TARGET_DIR),target)/release/neraca
site = $(addprefix experiments/site/,10k.bin 75k.bin 1m.bin)

.DELETE_ON_ERROR:
.PHONY: help run-thread run-async serve site test lint peers ci clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r target text; do \
		printf '  make %-12s %s\n' "$$target" "$$text"; done

run-thread: ## the demo on the thread engine: a balancer over three backends
	cargo build --release --quiet
	@exec $(neraca) balance --engine thread --listen $(LISTEN) --demo

run-async: ## the demo on the async engine
	cargo build --release --quiet
	@exec $(neraca) balance --engine async --listen $(LISTEN) --demo

serve: $(site) ## the file server over experiments/site
	cargo build --release --quiet
	@exec $(neraca) serve --listen $(LISTEN) --root $(ROOT)

site: $(site) ## the larger files of experiments/site

# Lines of 16 bytes that count up.
experiments/site/10k.bin: ; seq -f %015.0f 640 > $@
experiments/site/75k.bin: ; seq -f %015.0f 4800 > $@
experiments/site/1m.bin: ; seq -f %015.0f 65536 > $@

test: ## every test
	cargo test --workspace

lint: ## formatting, clippy and documentation, without a warning
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items

peers: ## both engines beside HAProxy, nginx and others that are installed (PEERS_FLAGS=--markdown)
	cargo build --release --quiet --package neraca --package neraca-lab --bins --example floor
	@exec $(dir $(neraca))neraca-lab peers --rounds $(ROUNDS) --seconds $(SECONDS) \
		$(if $(ROWS),--rows $(ROWS)) $(PEERS_FLAGS)

ci: ## what the continuous integration does
	.ci/run

clean: ## removes what was built and generated
	cargo clean
	rm -f $(site)
