# The front door: every target calls cargo, CMake or a script, and can be done by hand the same way.

BUILD ?= build
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
CMAKE ?= cmake
CTEST = ctest --output-on-failure -j $(JOBS)
# A moment for the models that are run with every test; `make loom` may take longer.
LOOM_MAX_PREEMPTIONS ?= 3

MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := build
.PHONY: build demo test bench asan tsan valgrind loom proof-faults lint install header clean help

help:
	@echo "make            build the library, the tests and the examples in $(BUILD)/"
	@echo "make demo       install what is missing, build, run the echo server under load for 5 s"
	@echo "make test       install what is missing and run every check"
	@echo "make bench      benchmarks beside libuv, libevent, Asio and a hand-written loop"
	@echo "make asan       the C tests under the address sanitizer (needs Rust nightly)"
	@echo "make tsan       the C tests under the thread sanitizer (needs Rust nightly)"
	@echo "make valgrind   a part of the C tests under valgrind"
	@echo "make loom       the models of the lock-free parts"
	@echo "make proof-faults   every system call and every allocation fails in turn, and the table"
	@echo "make lint       rustfmt and clippy"
	@echo "make header     write include/weir.h and include/weir.symbols anew"
	@echo "make install    install to PREFIX (now $(PREFIX)); DESTDIR is honoured"
	@echo "make clean      remove what was built"

build:
	@scripts/install-deps base
	$(CMAKE) -S . -B $(BUILD)
	$(CMAKE) --build $(BUILD) --parallel $(JOBS)

demo: build
	scripts/demo $(BUILD)

test:
	scripts/test --build $(BUILD) --jobs $(JOBS)

bench:
	@scripts/install-deps base bench
	$(CMAKE) -S . -B $(BUILD) -DWEIR_BUILD_BENCHES=ON
	$(CMAKE) --build $(BUILD) --parallel $(JOBS)
	benches/run --programs $(BUILD)/benches $(BENCH_OPTIONS)
	benches/syscalls --programs $(BUILD)/benches

asan tsan:
	@scripts/install-deps base
	$(CMAKE) -S . -B $(BUILD)/$@ -DWEIR_SANITIZE=$(if $(filter asan,$@),address,thread)
	$(CMAKE) --build $(BUILD)/$@ --parallel $(JOBS)
	cd $(BUILD)/$@ && $(CTEST)

valgrind:
	@scripts/install-deps base test
	$(CMAKE) -S . -B $(BUILD)
	$(CMAKE) --build $(BUILD) --parallel $(JOBS)
	cd $(BUILD) && $(CTEST) -C Valgrind -L valgrind

loom:
	scripts/loom $(LOOM_MAX_PREEMPTIONS)

proof-faults:
	@scripts/install-deps base
	scripts/proof-faults --build $(BUILD) --jobs $(JOBS)
	scripts/proof-faults --build $(BUILD) --jobs $(JOBS) --short --asan

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

install: build
	$(CMAKE) --install $(BUILD) --prefix "$(PREFIX)"

header:
	WEIR_BLESS=1 cargo test --quiet --test header
	WEIR_BLESS=1 cargo test --quiet --test symbols

clean:
	rm -rf $(BUILD)
	cargo clean
