# The address that the programs listen on, and the directory that they serve: make serve ROOT=/some/site LISTEN=127.0.0.1:9000
LISTEN ?= 127.0.0.1:8080
ROOT ?= experiments/site
# Seeds of make simulate.
SEEDS ?= 1000000
# For the laboratory: make bench BENCH='--target mine="./lb.py {port} {o1} {o2} {o3}"'
BENCH ?=
# Two balancers and two web servers in Python, as the original assignment has them: make bench BENCH='$(ORIGINAL)'
python_server = cd {root} && exec python3 -B $$OLDPWD/experiments/targets/server_$(1).py {port}
ORIGINAL = --target 'python-events=python3 -B experiments/targets/lb_events.py' \
	--target 'python-processes=python3 -B experiments/targets/lb_processes.py' --listens 44444 --backends 8000,8001,8002 \
	--server 'python-threads=$(call python_server,threads)' --server 'python-pool=$(call python_server,processes)' \
	--behind python-threads
# The balancers of make grade and make capacity: make grade GRADE='--target mine="./lb.py {port} {o1} {o2} {o3}"'
GRADE ?=
SLO ?= p99=20ms

# Blocks and cells of the comparison with other programs, and seconds of each run: make peers ROWS=c1000,memory SECONDS=3
# DISTURB=1 runs a busy loop under nice beside every measurement.
ROUNDS ?=
ROWS ?=
DISTURB ?=
PEERS_FLAGS ?=

# The comparison of two builds: make compare BASE=eeaf6c5 PAIRS=10 SECONDS=2 ONLY=async-c1000,close
BASE ?= HEAD
PAIRS ?= 10
ONLY ?=

neraca = $(or $(CARGO_TARGET_DIR),target)/release/neraca
lab = $(or $(CARGO_TARGET_DIR),target)/lab/neraca-lab
bench_packages = wrk haproxy nginx caddy apache2 h2o lighttpd strace linux-perf iproute2 curl openssl valgrind
site = $(addprefix experiments/site/,10k.bin 75k.bin 1m.bin)

.DELETE_ON_ERROR:
.PHONY: help run-thread run-async serve site test model simulate fuzz fuzz-seeds lint peers compare engines compare-selftest instructions \
	churn promises replace-under-load reload-under-load admin-under-load torture dist install ci clean \
	bench bench-smoke bench-full grade capacity bench-doctor bench-selftest bench-setup bench-build report report-check

help: ## print this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r target text; do \
		printf '  make %-15s %s\n' "$$target" "$$text"; done

run-thread: ## run a demo on the thread engine: a balancer over three backends
	cargo build --release --quiet
	@exec $(neraca) balance --engine thread --listen $(LISTEN) --demo

run-async: ## run the same demo on the async engine
	cargo build --release --quiet
	@exec $(neraca) balance --engine async --listen $(LISTEN) --demo

serve: $(site) ## serve the files of experiments/site (ROOT= LISTEN=)
	cargo build --release --quiet
	@exec $(neraca) serve --listen $(LISTEN) --root $(ROOT)

site: $(site) ## generate the larger files of experiments/site

# Lines of 16 bytes that count up.
experiments/site/10k.bin: ; seq -f %015.0f 640 > $@
experiments/site/75k.bin: ; seq -f %015.0f 4800 > $@
experiments/site/1m.bin: ; seq -f %015.0f 65536 > $@

bench-setup: ## print and install the programs that the laboratory needs
	@echo "installing: $(bench_packages)"
	$(sudo) apt-get update -qq
	$(sudo) env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $(bench_packages)
	@echo "stopping the services that these packages start: haproxy nginx caddy apache2"
	-@for service in haproxy nginx caddy apache2; do $(sudo) service $$service stop 2>/dev/null; done; true

sudo = $(if $(filter 0,$(shell id -u)),,sudo)

bench-build:
	cargo build --release --quiet
	cargo build --profile lab --package neraca-lab --quiet

bench-doctor: bench-build ## check whether this machine is ready to measure
	@$(lab) doctor --neraca $(neraca)

bench-smoke: bench-build ## measure every target once, in about a minute
	@exec $(lab) run --plan smoke --neraca $(neraca) $(ORIGINAL) $(BENCH)

bench: bench-build ## measure everything and write the report, in at most 40 minutes (BENCH='--only servers --blocks 4')
	@exec $(lab) run --plan bench --neraca $(neraca) $(BENCH)

bench-full: bench-build ## the same with eight times as many blocks, for narrow intervals, in about 5 hours
	@exec $(lab) run --plan bench --blocks 96 --minutes 0 --neraca $(neraca) $(BENCH)

grade: bench-build ## give balancers a scorecard of 100 points: both engines, HAProxy and nginx (GRADE= for another one)
	@exec $(lab) grade --neraca $(neraca) $(GRADE)

capacity: bench-build ## find the highest rate that holds a latency (SLO= GRADE=)
	@exec $(lab) capacity --neraca $(neraca) --slo $(SLO) $(GRADE)

bench-selftest: bench-build ## check that the laboratory reports known faults at their rates
	@exec $(lab) selftest

report: ## write the tables, plots and pages of the newest complete run again (or RUN=directory)
	cargo build --profile lab --package neraca-lab --quiet
	@$(lab) report $(RUN)

report-check: ## check that the stored report follows from the raw results
	cargo build --profile lab --package neraca-lab --quiet
	@$(lab) check $(RUN)

fuzz: ## run a fuzz target for 10 minutes (TARGET=rewrite; needs cargo-fuzz, see fuzz/README.md)
	RUSTC_BOOTSTRAP=1 cargo fuzz run $(or $(TARGET),rewrite) -- -max_total_time=600 -max_len=4096 -dict=fuzz/http.dict

fuzz-seeds: ## write the raw messages of tests/corpus as first inputs of the fuzz targets
	cargo run --quiet --manifest-path fuzz/Cargo.toml --example seeds

# Many tests wait for a deadline, so more of them run at a time than there are cores: on two cores the socket suite of the
# async engine took 87 s with 2 threads, 41 s with 6 and 31 s with 12. With 24 a request may wait longer than a test allows.
# What the compiler keeps for a next build costs a first build a tenth more time.
test: ## run every test
	CARGO_INCREMENTAL=$(or $(CARGO_INCREMENTAL),0) RUST_TEST_THREADS=$(or $(RUST_TEST_THREADS),8) cargo test --workspace

model: ## the run protocol and the queue of permits under many schedules (a part of make test)
	cargo test --test model

# `make test` simulates a few thousand seeds in a build that is not optimized, and `.ci/run` 20,000.
simulate: ## run the simulation over many seeds, for a night (SEEDS=1000000)
	NERACA_SEEDS=$(SEEDS) cargo test --release --test simulation

lint: ## check formatting, clippy and documentation
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items

peers: bench-build ## compare both engines with HAProxy, nginx and other installed balancers (ROUNDS= SECONDS= ROWS= DISTURB=1)
	cargo build --release --quiet --example byte_pump
	@exec $(lab) run --plan peers --neraca $(neraca) $(if $(ROUNDS),--blocks $(ROUNDS)) \
		$(if $(SECONDS),--seconds $(SECONDS)) $(if $(ROWS),--only $(ROWS)) $(if $(DISTURB),--disturb) $(PEERS_FLAGS)

compare: bench-build ## compare this build with BASE=commit or program; exit 1 when it is slower (PAIRS= SECONDS= ONLY=), or RUNS='dir dir'
	@exec $(lab) compare $(or $(RUNS),--neraca $(neraca) --base $(BASE) --pairs $(PAIRS) --seconds $(or $(SECONDS),2) \
		$(if $(ONLY),--only $(ONLY)))

engines: ## the CPU time of a request in both engines, which run at the same time, about 4 minutes (needs wrk and python3)
	cargo build --release --quiet
	@for connections in 10 100 1000; do echo "$$connections connections, async / thread:"; \
		python3 experiments/together.py --neraca $(neraca) -c $$connections \
			"$(neraca) balance --engine thread" "$(neraca) balance --engine async" || exit 1; done

compare-selftest: bench-build ## check that the comparison finds a slowed build and accepts an equal one
	@exec $(lab) compare-selftest --neraca $(neraca)

instructions: bench-build ## count the instructions of a request in this build and in BASE=commit (needs valgrind)
	@exec $(lab) instructions --base $(BASE)

churn: ## replace the members of a cluster every 10 ms under load; exit 1 when a request fails (SECONDS=)
	cargo run --release --quiet --example churn -- $(or $(SECONDS),20)

promises: ## check the promises of docs/balancing.md over sockets, about 5 minutes; exit 1 when one is broken
	cargo build --release --quiet
	@exec cargo run --release --quiet --example promises -- --neraca $(neraca)

replace-under-load: ## replace the program ten times, and stop one of two replicas, under wrk -c 1000; exit 1 when a request fails
	cargo build --release --quiet
	@exec cargo run --release --quiet --example under_load -- --neraca $(neraca) --seconds $(or $(SECONDS),30) replace

reload-under-load: ## change the configuration file every 100 ms under wrk -c 1000; exit 1 when a request fails or a tunnel ends
	cargo build --release --quiet
	@exec cargo run --release --quiet --example under_load -- --neraca $(neraca) --seconds $(or $(SECONDS),30) reload

admin-under-load: ## measure the latency of requests beside 300 clients of the admin listener, about 4 minutes
	cargo build --release --quiet
	@exec cargo run --release --quiet --example under_load -- --neraca $(neraca) admin

torture: ## backends close connections at random and are killed in turn; exit 1 when a GET fails or a POST is sent twice (SECONDS=)
	cargo build --release --quiet
	@exec cargo run --release --quiet --example promises -- --neraca $(neraca) --seconds $(or $(SECONDS),60) torture

ci: ## run what the continuous integration runs
	.ci/run

# What a package holds besides the program. `neraca man` and `neraca completions` write the generated files.
PREFIX ?= /usr/local
dist_name = neraca-$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)-$(shell uname -m)-linux
dist = $(or $(CARGO_TARGET_DIR),target)/dist

dist: ## build a tar file: program, manual pages, completions, units, manifests, dashboard
	cargo build --release --quiet --locked
	rm -rf $(dist)/$(dist_name)
	mkdir -p $(dist)/$(dist_name)/completions
	cp $(neraca) README.md CHANGELOG.md LICENSE $(dist)/$(dist_name)
	cp -r docs packaging $(dist)/$(dist_name)
	$(neraca) man $(dist)/$(dist_name)/man
	for shell in bash zsh fish elvish powershell; do \
		$(neraca) completions $$shell > $(dist)/$(dist_name)/completions/neraca.$$shell || exit 1; done
	tar --sort=name --owner=0 --group=0 -C $(dist) -czf $(dist)/$(dist_name).tar.gz $(dist_name)
	@echo $(dist)/$(dist_name).tar.gz

install: dist ## install program, manual pages, completions and units (DESTDIR= PREFIX=/usr/local)
	install -Dm755 $(neraca) $(DESTDIR)$(PREFIX)/bin/neraca
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/man/man1 $(dist)/$(dist_name)/man/*.1
	install -Dm644 $(dist)/$(dist_name)/completions/neraca.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/neraca
	install -Dm644 $(dist)/$(dist_name)/completions/neraca.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_neraca
	install -Dm644 $(dist)/$(dist_name)/completions/neraca.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/neraca.fish
	install -Dm644 packaging/systemd/neraca.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/neraca.socket
	sed 's,/usr/bin/neraca,$(PREFIX)/bin/neraca,' packaging/systemd/neraca.service > $(dist)/neraca.service
	install -Dm644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system $(dist)/neraca.service

clean: ## remove everything that was built and generated
	cargo clean
	rm -f $(site)
