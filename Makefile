# Two doors: `make demo` runs the main job on this machine, `make test` passes the tests.
# Both make what they need first: the virtual environment, Debian's packages (as root), the launcher.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help demo test check bench fmt lock setup launcher clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo: setup  ## run a Flox environment in a container on this machine, end to end
	@$(BIN)/floxbridge demo $(DEMO_ARGS)

test: setup  ## all tests; those that cannot run here say why
	$(BIN)/pytest $(TEST_ARGS)

check: setup  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup  ## the figures of docs/performance.md, each beside a peer's
	$(BIN)/python -m bench $(BENCH_ARGS)

fmt: $(READY)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:  ## choose versions anew (the only target that needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --extra cri --group dev --group build --custom-compile-command 'make lock' pyproject.toml -o requirements.lock

setup: debian-packages $(READY) launcher

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: debian-packages
debian-packages:
	@sh tools/debian-packages.sh

launcher: $(READY)
	@$(BIN)/floxbridge-node build-launcher --output build/floxbridge-runc

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache
