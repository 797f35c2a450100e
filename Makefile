# Everything runs in a virtual environment of the project's own; `make demo` and `make test` make it first.
PYTHON ?= python3.11
BIN := .venv/bin
ROOTS := cli client core dashboard protos server simulation strategies

.DEFAULT_GOAL := help
.PHONY: help setup demo test check nightly protos docs fuzz nemesis benchmarks clean

help:  ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# torch first: without a GPU, make TORCH_INDEX=<address of PyTorch's CPU packages> spares gigabytes of CUDA.
TORCH_INDEX ?=
.venv/installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Antiphon needs Python 3.11: install it, or run make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet torch -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(BIN)/python -m pip install --quiet -e '.[client,dashboard,flower,dev]' -c constraints.txt
	@touch $@

setup: .venv/installed  ## make the virtual environment

demo: setup  ## fine-tune SmolLM2-135M across four clients (about seven minutes on two cores)
	$(BIN)/antiphon simulate examples/quickstart.yaml

# systemd-analyze is the one thing that the checks need and pip does not bring.
.PHONY: system-tools
system-tools:
	@command -v systemd-analyze >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq systemd; } || { echo "systemd-analyze is missing: apt-get install systemd"; exit 2; }

# One test looks at the dashboard with a real browser.
.PHONY: browser
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } || { echo "Chromium is missing: apt-get install chromium"; exit 2; }

test: setup system-tools browser  ## run every check and test but the nightly ones; the real model trains too
	$(MAKE) --no-print-directory lint
	$(SIDE_BY_SIDE) -m "not nightly"

# Whole files, so that what a file computes once is computed once; tests/conftest.py puts the longest first.
WORKERS ?= 2
SIDE_BY_SIDE := $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: lint
lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(ROOTS) tests benchmarks
	$(BIN)/lint-imports

check: lint system-tools  ## format, lint, types, imports and the fast tests (under 90 seconds)
	$(SIDE_BY_SIDE) -m "not slow and not model and not network and not nightly"

nightly: setup  ## run what is too long for every change: the whole quickstart, and Flower on Ray
	$(BIN)/pytest -m nightly

protos: setup  ## regenerate the protobuf stubs beside their .proto files
	$(BIN)/python protos/generate.py protos

docs: setup  ## write the tables of keys in docs/ from the descriptions in the code
	$(BIN)/python docs/generate.py

fuzz: setup  ## fuzz every decoder for an hour, and try the properties on examples that nobody has tried
	$(BIN)/pytest --hypothesis-profile=chance -m "not model and not network and not nightly"
	$(BIN)/python -m tests.fuzz.run --seconds 3600

nemesis: setup  ## kill every process two hundred times, and lose nothing (about half an hour)
	$(BIN)/python -m benchmarks.nemesis --kills 200

benchmarks: setup  ## run every benchmark and print its table
	$(BIN)/python -m benchmarks.all

clean:  ## remove the virtual environment and the caches (not the runs)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
