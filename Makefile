# `make demo` and `make test` set everything up on a fresh machine; the rest builds on them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := runs/demo

.PHONY: help setup demo test browser check lint types bench site site-check screenshots gpu-test clean

help:
	@echo "make demo        set up, train a student with and without a teacher, build a page"
	@echo "make test        set up, run the tests"
	@echo "make check       what CI runs: lint, types, tests, freshness of site/"
	@echo "make site        rebuild site/ from leaderboards/"
	@echo "make screenshots take the README's pictures of site/"
	@echo "make bench       the ratios of times in tests/benchmarks, about ten minutes"
	@echo "make gpu-test    the tests and the ratios that need a CUDA device"

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "kdbench needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[rar,test]"
	@touch $@

# The demo keeps its records and its page to itself: leaderboards/ and site/ stay as they are.
demo: setup
	$(BIN)/kdbench run --board motion-shapes --student c3d
	$(BIN)/kdbench run --board motion-shapes --student c3d --teacher r3d
	@mkdir -p $(DEMO)/boards/motion-shapes
	@cp leaderboards/motion-shapes/board.toml $(DEMO)/boards/motion-shapes/
	@$(BIN)/kdbench submit --boards $(DEMO)/boards runs/motion-shapes/c3d-*-1-s0-* runs/motion-shapes/r3d-alone-*-1-s0-* > /dev/null
	@$(BIN)/kdbench site build --boards $(DEMO)/boards --out $(DEMO)/site > /dev/null
	@$(BIN)/kdbench board show motion-shapes --boards $(DEMO)/boards
	@echo "The page: $(CURDIR)/$(DEMO)/site/index.html"

test: setup browser
	$(BIN)/python -m pytest -n auto --dist loadgroup

# The pages are tested in a real browser where there is one; root on Debian can have it installed.
browser:
	@for name in chromium chromium-browser google-chrome chrome; do command -v $$name > /dev/null && exit 0; done; \
	  test "$$(id -u)" = 0 && command -v apt-get > /dev/null && apt-get install -y -qq chromium > /dev/null || \
	  echo "NO CHROMIUM: the pages will not be tested in a browser; install one, or run as root on Debian"

check: lint types test site-check

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

# Ratios of times, gated; nothing else should run meanwhile. The peers to compare with are installed here alone.
bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[rar,test,bench]"
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only

site: setup
	$(BIN)/kdbench site build

site-check: setup
	$(BIN)/kdbench site check

# docs/images: the top of a board, light and dark, and a comparison, as site/ has them now.
screenshots: setup browser
	$(BIN)/python -m tests.browser.screenshots

gpu-test: setup
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python -m pytest tests/benchmarks/test_gpu.py --benchmark-only

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
