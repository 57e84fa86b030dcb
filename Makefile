# Two doors: `make demo` runs the main job on this machine, `make test` passes the tests.
# Both make what they need first: the virtual environment, Debian's packages (as root), the launcher.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
QUIET  := --quiet --disable-pip-version-check
PREFIX ?= /opt/floxbridge
SOAK_KILLS ?= 2000
SOAK_S ?= 600
TEST_WORKERS ?= 3

.PHONY: help demo test soak check bench fmt lock install setup launcher clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo: setup  ## run a Flox environment in a container on this machine, end to end
	@$(BIN)/floxbridge demo $(DEMO_ARGS)

test: setup newer-runtimes oras  ## all tests; those that cannot run here say why
	$(BIN)/pytest --numprocesses $(TEST_WORKERS) --dist loadfile $(TEST_ARGS)

soak: setup  ## what takes longer than a test may: SOAK_KILLS times kill -9 in the life of closures, SOAK_S seconds of each fuzzer
	FLOXBRIDGE_SOAK_KILLS=$(SOAK_KILLS) FLOXBRIDGE_SOAK_S=$(SOAK_S) $(BIN)/pytest -s --timeout 0 tests/soak tests/fuzz $(TEST_ARGS)

check: setup  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup  ## the figures of docs/performance.md, each beside a peer's
	$(BIN)/python -m bench $(BENCH_ARGS)

fmt: $(READY)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command 'make lock' pyproject.toml

lock:  ## choose versions anew (the only target that needs uv)
	$(LOCK) -o requirements-runtime.lock
	$(LOCK) -c requirements-runtime.lock --extra cri --group dev --group build -o requirements.lock

install: $(READY)  ## what the Dockerfile does: both halves and the launcher below PREFIX, without what only developers need
	$(BIN)/pip wheel $(QUIET) --no-deps --no-build-isolation --wheel-dir build/wheel .
	$(PYTHON) -m venv $(PREFIX)
	$(PREFIX)/bin/pip install $(QUIET) --require-hashes --only-binary :all: -r requirements-runtime.lock
	$(PREFIX)/bin/pip install $(QUIET) --no-deps --force-reinstall build/wheel/floxbridge-*.whl
	$(PREFIX)/bin/floxbridge-node build-launcher --output $(PREFIX)/bin/floxbridge-runc

setup: debian-packages $(READY) launcher

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install $(QUIET) --require-hashes --only-binary :all: -r requirements.lock
	$(BIN)/pip install $(QUIET) --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: debian-packages
debian-packages:
	@sh tools/debian-packages.sh

.PHONY: newer-runtimes
newer-runtimes:
	@sh tools/newer-runtimes.sh

.PHONY: oras
oras:
	@sh tools/oras.sh

launcher: $(READY)
	@$(BIN)/floxbridge-node build-launcher --output build/floxbridge-runc

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache
