# The front door: every target calls cargo, CMake or a script, and can be done by hand the same way.

BUILD ?= build
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
CMAKE ?= cmake
CTEST = ctest --output-on-failure -j $(JOBS)
# Where the random sequences begin.
SEED ?= 1000
# A moment for the models that are run with every test; `make loom` may take longer.
LOOM_MAX_PREEMPTIONS ?= 3

MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := build
PROOF_SECONDS ?= 1800
FUZZ_SECONDS ?= 3600

.PHONY: proof-sequences-asan proof-sequences-tsan build demo test bench bench-page soak asan tsan clang valgrind loom mutants proof-faults proof-sequences proof-schedules fuzz coverage proof lint install header docs package abi abi-check clean help
.PHONY: test-python wheel
.PHONY: test-python-cpython test-python-ecosystem bench-python

help:
	@echo "make            build the library, the tests and the examples in $(BUILD)/"
	@echo "make demo       install what is missing, build, run the echo server under load for 5 s"
	@echo "make test       install what is missing and run every check"
	@echo "make test-python  the tests of the Python package"
	@echo "make wheel      the Python package with the library inside, in $(BUILD)/wheel"
	@echo "make bench      benchmarks beside libuv, libevent, libev, Asio and a hand-written loop"
	@echo "make bench-page the same, written into docs/benchmarks.md and README.md with their pictures"
	@echo "make test-python-cpython    CPython's own tests of asyncio on the loop of weir.asyncio"
	@echo "make test-python-ecosystem  programs from PyPI on the loop of weir.asyncio, and a part of uvloop's tests"
	@echo "make bench-python           weir.asyncio beside asyncio and uvloop"
	@echo "make soak       10,000 connections for 10 minutes, 100,000 timers and 1,000 contexts for a minute each"
	@echo "make asan       the C tests under the address sanitizer (needs Rust nightly)"
	@echo "make tsan       the C tests under the thread sanitizer (needs Rust nightly)"
	@echo "make clang      the C++ tests built by clang, under its sanitizers (the last needs Rust nightly)"
	@echo "make valgrind   a part of the C tests under valgrind"
	@echo "make loom       the models of the lock-free parts"
	@echo "make mutants    take each protection of docs/hazards.md out and see its proof fail (MUTANTS=h04 for some)"
	@echo "make proof-faults   every system call and every allocation fails in turn, and the table"
	@echo "make proof-sequences  ten million random calls over all types of handles, and how often each was called"
	@echo "make proof-sequences-asan, -tsan  the same under the sanitizers for PROOF_SECONDS (need Rust nightly)"
	@echo "make proof-schedules   the whole library under seeded schedules for PROOF_SECONDS (now $(PROOF_SECONDS))"
	@echo "make fuzz       sequences of calls by cargo-fuzz for FUZZ_SECONDS (now $(FUZZ_SECONDS); needs Rust nightly)"
	@echo "make coverage   which lines of the library the tests reach, by file"
	@echo "make proof      all of them in their long form: hours"
	@echo "make lint       rustfmt and clippy"
	@echo "make header     write include/weir.h and include/weir.symbols anew"
	@echo "make docs       the HTML reference by Doxygen, in $(BUILD)/html"
	@echo "make package    Debian packages libweirN and libweir-dev, in $(BUILD)/debian"
	@echo "make abi-check  is weir.h still what programs were compiled against (abi/)? \`make abi\` writes that at a release"
	@echo "make install    install to PREFIX (now $(PREFIX)); DESTDIR is honoured"
	@echo "make clean      remove what was built"

build:
	@scripts/install-deps base
	$(CMAKE) -S . -B $(BUILD)
	$(CMAKE) --build $(BUILD) --parallel $(JOBS)

# The library and the two programs, no tests.
demo:
	@scripts/install-deps base
	$(CMAKE) -S . -B $(BUILD)
	$(CMAKE) --build $(BUILD) --parallel $(JOBS) --target echo_server echo_load
	scripts/demo $(BUILD)

test:
	scripts/test --build $(BUILD) --jobs $(JOBS)

test-python: build
	WEIR_LIBRARY=$(abspath $(BUILD))/lib/libweir.so python/tests/run.py --tools $(BUILD)/python-tools

wheel:
	@scripts/install-deps base test
	python/wheel --output $(BUILD)/wheel --target-dir $(BUILD)/cargo

bench:
	@scripts/install-deps base bench
	$(CMAKE) -S . -B $(BUILD) -DWEIR_BUILD_BENCHES=ON
	$(CMAKE) --build $(BUILD) --parallel $(JOBS)
	benches/run --programs $(BUILD)/benches $(BENCH_OPTIONS)
	benches/syscalls --programs $(BUILD)/benches

# Runs that failed are listed on the page. BENCH_ROUNDS: how often each program has its turn.
BENCH_ROUNDS ?= 5
bench-page:
	@scripts/install-deps base bench test
	$(CMAKE) -S . -B $(BUILD) -DWEIR_BUILD_BENCHES=ON
	$(CMAKE) --build $(BUILD) --parallel $(JOBS)
	-benches/run --programs $(BUILD)/benches --rounds $(BENCH_ROUNDS) --json $(BUILD)/bench.json --update docs/benchmarks.md \
		--update README.md > $(BUILD)/bench.md
	benches/plot $(BUILD)/bench.json docs/images/benchmarks.svg
	benches/plot $(BUILD)/bench.json docs/images/benchmarks-main.svg --main
	-benches/syscalls --programs $(BUILD)/benches --update docs/benchmarks.md
	-benches/instructions --programs $(BUILD)/benches --update docs/benchmarks.md

WEIR_LIBRARY ?= $(abspath $(BUILD))/lib/libweir.so
# PYTHONS: several interpreters, where their tests are installed.
PYTHONS ?= python3
test-python-cpython: build
	@scripts/install-deps python
	WEIR_LIBRARY=$(WEIR_LIBRARY) python/tests/cpython_suite.py $(foreach python,$(PYTHONS),--python $(python)) --jobs $(JOBS)

test-python-ecosystem: build
	@scripts/install-deps python
	WEIR_LIBRARY=$(WEIR_LIBRARY) python/tests/ecosystem.py --folder $(BUILD)/ecosystem

bench-python: build
	@scripts/install-deps python
	WEIR_LIBRARY=$(WEIR_LIBRARY) python/benches/bench_asyncio.py --folder $(BUILD)/ecosystem $(BENCH_OPTIONS)

# SOAK_SECONDS: for the echo server with each number of threads.
SOAK_SECONDS ?= 300
soak: build
	c-tests/soak/echo.py --server $(BUILD)/examples/echo_server --load $(BUILD)/examples/echo_load \
		--seconds $(SOAK_SECONDS) --threads 1,2
	SOAK_SECONDS=60 CHECK_SECONDS=600 $(BUILD)/c-tests/test_soak

asan tsan:
	@scripts/install-deps base
	$(CMAKE) -S . -B $(BUILD)/$@ -DWEIR_SANITIZE=$(if $(filter asan,$@),address,thread)
	$(CMAKE) --build $(BUILD)/$@ --parallel $(JOBS)
	cd $(BUILD)/$@ && $(CTEST)

clang: build
	@scripts/install-deps base test
	cpp-tests/clang . $(BUILD)/lib $(BUILD)/clang
	CC=clang CXX=clang++ $(CMAKE) -S . -B $(BUILD)/clang-tsan -DWEIR_SANITIZE=thread
	$(CMAKE) --build $(BUILD)/clang-tsan --parallel $(JOBS)
	cd $(BUILD)/clang-tsan && $(CTEST) -L cpp

valgrind:
	@scripts/install-deps base test
	$(CMAKE) -S . -B $(BUILD)
	$(CMAKE) --build $(BUILD) --parallel $(JOBS)
	cd $(BUILD) && $(CTEST) -C Valgrind -L valgrind

loom:
	scripts/loom $(LOOM_MAX_PREEMPTIONS)

mutants:
	@scripts/install-deps base test
	scripts/mutants $(MUTANTS)

proof-faults:
	@scripts/install-deps base
	scripts/proof-faults --build $(BUILD) --jobs $(JOBS)
	scripts/proof-faults --build $(BUILD) --jobs $(JOBS) --short --asan

proof-sequences: build
	CHECK_SECONDS=7200 SEQUENCE_TABLE=1 SEQUENCE_SEED=$(SEED) SEQUENCE_SEEDS=250 $(BUILD)/c-tests/test_sequence one_thread
	CHECK_SECONDS=7200 SEQUENCE_TABLE=1 SEQUENCE_SEED=$(SEED) SEQUENCE_SEEDS=400 $(BUILD)/c-tests/test_sequence several_threads

# The same under the sanitizers, for PROOF_SECONDS each.
proof-sequences-asan proof-sequences-tsan: proof-sequences-%:
	@scripts/install-deps base
	$(CMAKE) -S . -B $(BUILD)/$* -DWEIR_SANITIZE=$(if $(filter asan,$*),address,thread)
	$(CMAKE) --build $(BUILD)/$* --parallel $(JOBS) --target test_sequence
	TSAN_OPTIONS=halt_on_error=1 CHECK_SECONDS=14400 SEQUENCE_SECONDS=$(PROOF_SECONDS) SEQUENCE_SEED=$(SEED) \
		SEQUENCE_SEEDS=1000000 $(BUILD)/$*/c-tests/test_sequence

proof-schedules:
	scripts/sim --jobs $(JOBS) --seeds 1000000000 --seconds $(PROOF_SECONDS)

fuzz:
	scripts/fuzz $(FUZZ_SECONDS)

coverage:
	@scripts/install-deps base test coverage
	scripts/coverage --build $(BUILD)/coverage --jobs $(JOBS)

proof: mutants proof-faults proof-sequences proof-sequences-asan proof-sequences-tsan proof-schedules fuzz soak coverage
	LOOM_MAX_PREEMPTIONS=4 $(MAKE) loom

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

install: build
	$(CMAKE) --install $(BUILD) --prefix "$(PREFIX)"

header:
	WEIR_BLESS=1 cargo test --quiet --test header
	WEIR_BLESS=1 cargo test --quiet --test symbols

docs:
	@scripts/install-deps package
	scripts/reference/html $(BUILD)/html

package:
	@scripts/install-deps base package
	$(CMAKE) -S . -B $(BUILD)/debian -DWEIR_DEBIAN=ON -DCMAKE_INSTALL_PREFIX=/usr -DWEIR_BUILD_TESTS=OFF \
		-DWEIR_BUILD_EXAMPLES=OFF -DWEIR_CARGO_TARGET_DIR=$(abspath $(BUILD)/cargo)
	$(CMAKE) --build $(BUILD)/debian --parallel $(JOBS)
	cd $(BUILD)/debian && cpack

abi:
	@scripts/install-deps package
	scripts/abi write

abi-check:
	@scripts/install-deps package
	scripts/abi check

clean:
	rm -rf $(BUILD)
	cargo clean
