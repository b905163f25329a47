# A thin front for CMake. `make help` lists what there is.
BUILD ?= build
JOBS ?= $(shell nproc)
CMAKE_FLAGS ?=
SOURCES = $(shell git ls-files '*.c' '*.h')

.PHONY: help build demo test bench format format-check sanitize fuzz install clean setup setup-test

help:
	@echo 'make demo      install what is missing, build, run the shipped models on the shipped questions'
	@echo 'make test      install what is missing, build, run every test'
	@echo 'make build     build only ($(BUILD)/tinyllm)'
	@echo 'make bench     measure this machine, and the peers that are on PATH'
	@echo 'make sanitize  the tests under AddressSanitizer and UndefinedBehaviorSanitizer'
	@echo 'make fuzz      each fuzz target for FUZZ_SECONDS (60); FUZZ_SEED repeats a walk'
	@echo 'make format    clang-format every source'
	@echo 'make install   cmake --install (PREFIX=/usr/local)'

setup:
	@tools/setup build

setup-test:
	@tools/setup test

# Configuring is skipped when nothing changed; an older build directory is brought up to date.
define configure
	@cmake -S . -B $(1) -G Ninja $(2) $(CMAKE_FLAGS) >$(1).log 2>&1 || { cat $(1).log; exit 1; }
endef

build: setup
	$(call configure,$(BUILD),-DTINYLLM_TESTS=OFF)
	@cmake --build $(BUILD) -j $(JOBS)

demo: build
	@rm -rf $(BUILD)/demo-run
	$(BUILD)/tinyllm run -m @demo -t @demo -o $(BUILD)/demo-run
	@$(BUILD)/tinyllm report $(BUILD)/demo-run --html $(BUILD)/demo.html
	@echo 'The same as a page: $(BUILD)/demo.html'

test: setup-test
	$(call configure,$(BUILD),-DTINYLLM_TESTS=ON -DTINYLLM_WERROR=ON)
	@cmake --build $(BUILD) -j $(JOBS)
	@ctest --test-dir $(BUILD) -j $(JOBS) --output-on-failure --no-tests=error

sanitize: setup-test
	$(call configure,$(BUILD)-sanitize,-DTINYLLM_TESTS=ON -DTINYLLM_WERROR=ON -DTINYLLM_SANITIZE=ON)
	@cmake --build $(BUILD)-sanitize -j $(JOBS)
	@ctest --test-dir $(BUILD)-sanitize -j $(JOBS) --output-on-failure --no-tests=error

FUZZ_SECONDS ?= 60
FUZZ_SEED ?= 0
export FUZZ_SEED
fuzz:
	$(call configure,$(BUILD)-fuzz,-DCMAKE_C_COMPILER=clang -DTINYLLM_TESTS=ON -DTINYLLM_WERROR=ON \
		-DTINYLLM_SANITIZE=ON -DTINYLLM_FUZZ=ON)
	@cmake --build $(BUILD)-fuzz -j $(JOBS) --target fuzzers
	@tools/fuzz $(BUILD)-fuzz/tests $(FUZZ_SECONDS) $(JOBS)

bench: build
	@bench/run $(BUILD)

format:
	@clang-format -i $(SOURCES)

format-check:
	@clang-format --dry-run --Werror $(SOURCES)

PREFIX ?= /usr/local
install: build
	cmake --install $(BUILD) --prefix $(PREFIX)

clean:
	rm -rf $(BUILD) $(BUILD)-sanitize $(BUILD)-fuzz $(BUILD)*.log
