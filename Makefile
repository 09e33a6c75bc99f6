# Needs python3 (3.11 or newer) with venv; everything else goes into .venv. `make` lists the targets.
PYTHON ?= python3
BIN    := .venv/bin
.DEFAULT_GOAL := help

# Installs the checkout, editable, at the pinned versions: with uv, or with pip where uv does not work.
install = $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e $(1) \
	|| { echo 'uv did not work here; pip takes over.'; \
	$(BIN)/python -m pip install --quiet -c constraints.txt -e $(1); }

.venv/.runtime: pyproject.toml constraints.txt
	@echo 'Installing softjax into .venv: some 15 seconds with uv, a minute with pip.'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet uv || true
	@$(call install,.)
	@touch $@

.venv/.test: .venv/.runtime
	@echo 'Adding the test tools.'
	@$(call install,'.[test]')
	@touch $@

# pip, not uv: pip takes a CPU build of torch where it was told of one.
.venv/.torch: .venv/.test
	@echo 'Adding torch, torchax and diffusers.'
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[torch]'
	@touch $@

.venv/.docs: .venv/.runtime
	@echo 'Adding sphinx and what the site needs.'
	@$(call install,'.[docs]')
	@touch $@

.PHONY: help demo test test-all test-newest lint types torch bench docs clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

demo: .venv/.runtime  ## the first two figures, into results/
	$(BIN)/softjax patch --out results/patch
	$(BIN)/softjax empirical --out results/empirical
	@echo 'Look at results/patch/patch.png and results/empirical/empirical.png'

test: lint types  ## what must pass before a commit: lint, types, fast tests in both precisions
	$(BIN)/pytest -n 2 --dist loadfile
	JAX_ENABLE_X64=0 $(BIN)/pytest -n 2 --dist loadfile -m "float32 and not slow"

test-all: lint types  ## the slow tests too, and single precision compiled as users do, as the continuous integration does
	$(BIN)/pytest -n 2 --dist loadfile -m ""
	JAX_ENABLE_X64=0 SOFTJAX_COMPILE=fully $(BIN)/pytest -n 2 --dist loadfile -m "float32 and not slow"

test-newest: .venv/.test  ## the fast tests with the newest allowed versions, in an environment of their own: PYTHON=python3.13
	$(BIN)/uv run --isolated --no-project --python $(PYTHON) --resolution highest --with-editable '.[test]' \
		pytest -n 2 --dist loadfile

lint: .venv/.test  ## ruff: rules and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/.test  ## pyright
	$(BIN)/pyright

torch: .venv/.torch  ## torch, torchax and diffusers, without which the tests of softjax.interop are skipped

bench: .venv/.test  ## the benchmarks, 15 minutes; writes docs/benchmarks.md
	$(BIN)/pytest benchmarks --benchmark-only -o addopts=
	$(BIN)/python benchmarks/page.py

docs: .venv/.docs  ## the site, into docs/_build/html; runs the gallery's examples, the first time all of them
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo 'Open docs/_build/html/index.html'

clean:  ## remove .venv, caches and builds; results/ stays
	rm -rf .venv .benchmarks .hypothesis .pytest_cache .ruff_cache build dist docs/_build docs/api docs/gallery
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
