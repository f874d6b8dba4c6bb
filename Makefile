# `make test` and `make demo` set everything up themselves, in an environment of their own.
PYTHON ?= python3
VENV := .venv$(if $(filter-out python3,$(notdir $(PYTHON))),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
SOURCES := $(shell find src -name '*.py' -o -name '*.pxd') setup.py pyproject.toml
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Compiled bytecode is kept: many tests run programs, each of which would otherwise compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-compiled test-pure lint coverage bench docs hostile asan soak fuzz clean

# Compiled and installed; the pure leg is the same tree, run where it lies.
$(VENV)/built: $(VENV)/base $(SOURCES)
	$(BIN)/pip install --quiet --no-build-isolation --no-deps .
	@touch $@

# What builds the package, and what the command needs.
BASE := Cython setuptools click h11 rich
$(VENV)/base: constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt $(BASE)
	@touch $@

# What checks the project, too: the tests, the linters, and the libraries that the tests compare with.
$(VENV)/tools: $(VENV)/base
	$(BIN)/pip install --quiet --requirement constraints.txt
	@touch $@

demo: $(VENV)/built
	$(BIN)/mbuf replay captures/multi.pcap captures/quic2.pcap --speed 100x --hold 0.5 --physmem 4G
	@echo
	$(BIN)/mbuf replay captures/multi.pcap captures/quic2.pcap --speed 100x --hold 0.5 --physmem 4G \
	    --descriptors 256 --set kern.ipc.nmbclusters=640
	@echo
	$(BIN)/python bench/relay.py

# One process checks the sources while others compile them.
test: $(VENV)/tools
	$(MAKE) -j 2 --output-sync=target lint $(VENV)/built
	$(MAKE) test-compiled
	$(MAKE) test-pure

# A worker that has nothing left to do takes tests from the other.
PYTEST := $(BIN)/pytest -q -n 2 --dist worksteal

test-compiled: $(VENV)/built
	$(PYTEST)

# What only concerns the outside world (net, http, cli, stats, fuzz, soak, bench), processes, and long walks are run compiled.
PURE_TESTS := $(addprefix tests/,conformance laws vm uma packet pool testing test_mbuf_pytest.py)
test-pure: $(VENV)/tools
	PYTHONPATH=src $(PYTEST) $(PURE_TESTS) $(wildcard tests/hostile tests/cases)

lint: $(VENV)/tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(abspath $(BIN)):$$PATH" cython-lint src

# Which lines and branches of the core the tests reach uncompiled: all lines and 97 % of the branches, or it fails.
COVERAGE_TESTS := $(addprefix tests/,vm uma packet pool process/test_fork.py)
coverage: $(VENV)/tools
	rm -rf build/coverage
	mkdir -p build/coverage
	PYTHONPATH=src $(BIN)/coverage run -m pytest -q -n 2 --dist worksteal --timeout 600 $(COVERAGE_TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/coverage json --quiet -o - | $(BIN)/python tests/covered.py

bench: $(VENV)/built
	$(BIN)/python bench/alloc.py
	$(BIN)/python bench/probes.py
	$(BIN)/python bench/verbs.py
	$(BIN)/python bench/replay.py
	$(BIN)/python bench/sendfile.py
	$(BIN)/python bench/stream.py
	$(BIN)/python bench/lowmem.py
	$(BIN)/python bench/pace.py
	$(BIN)/python bench/wire.py
	$(BIN)/python bench/endpoint.py
	$(BIN)/python bench/streams.py
	$(BIN)/python bench/stalled.py
	$(BIN)/python bench/instructions.py

# The site, in build/docs. Signatures are read from the uncompiled sources. A warning is an error.
docs: $(VENV)/tools
	PYTHONPATH=src $(BIN)/python -m sphinx -q -E -W -n --keep-going docs build/docs
	$(BIN)/python docs/extensions/findable.py build/docs/searchindex.js

# Every method with user code in its middle. The test build calls a hook at every border between phases.
build/hostile/built: $(VENV)/tools $(SOURCES)
	rm -rf build/hostile/tree && mkdir -p build/hostile/tree
	cp -r src setup.py pyproject.toml README.md LICENSE build/hostile/tree
	cd build/hostile/tree && MBUF_CFLAGS="-O2 -DMBUF_HOOKS=1" $(abspath $(BIN))/pip install --quiet --no-build-isolation \
	    --no-deps --upgrade --target ../site .
	@touch $@

hostile: build/hostile/built
	PYTHONPATH=build/hostile/site:tests $(BIN)/python -m hostile.drive

# 10^8 allocations and frees in mixed threads, then long walks of the models.
MBUF_SOAK_COUNT ?= 100000000
soak: $(VENV)/built
	$(BIN)/python tests/soak/churn.py --count $(MBUF_SOAK_COUNT)
	MBUF_SOAK=1 $(BIN)/pytest -q tests/model --timeout 7200

# What comes from outside, gone wrong in other ways each time.
MBUF_FUZZ_SECONDS ?= 600
fuzz: $(VENV)/built
	MBUF_FUZZ_SECONDS=$(MBUF_FUZZ_SECONDS) $(BIN)/pytest -q tests/fuzz --timeout $(shell expr $(MBUF_FUZZ_SECONDS) + 120)

# The same tests on a build that ends the program when memory is touched that isn't in use: beside an mbuf's, or free.
# The leak detector is off, since the interpreter itself leaves memory behind.
ASAN := build/asan/lib
ASAN_FLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
ASAN_TESTS := tests/vm/test_arena.py tests/vm/test_page.py tests/uma tests/pool tests/packet $(wildcard tests/hostile)
asan: $(ASAN)/built
	LD_PRELOAD=$$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	    PYTHONMALLOC=malloc PYTHONPATH=$(ASAN) $(BIN)/pytest -q -n 2 --timeout 1200 $(ASAN_TESTS)

$(ASAN)/built: $(VENV)/tools $(SOURCES)
	MBUF_CFLAGS="$(ASAN_FLAGS)" LDFLAGS="-fsanitize=address,undefined" \
	    $(BIN)/python setup.py -q build --build-base build/asan --build-lib $(ASAN)
	@touch $@

clean:
	rm -rf build .venv* .mypy_cache .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
