# Each target does all its own set-up. A second run finds it done: the stamps in .venv are newer than what they stand for.
#
#   make demo PROMPT='def area(radius) do'    make test PYTEST_ARGS='-m slow'    make help

PYTEST_ARGS ?=
VENV        ?= .venv

ifndef PROMPT
define PROMPT
defmodule Stack do
  @doc "Puts an item on top of the stack."
  def push(stack, item) do

endef
endif
export PROMPT

.DEFAULT_GOAL := help
.PHONY: help demo test check tiny matrix bench docs clean base dev system

help:
	@echo 'make demo    write Elixir for a prompt with the model in this folder: make demo PROMPT="def area(radius) do"'
	@echo 'make test    run the tests: make test PYTEST_ARGS="-m slow"'
	@echo 'make check   format, lint and types: ruff format --check, ruff check, mypy'
	@echo 'make tiny    raw source to a generated function on one CPU core: collect, tokenize, train, generate'
	@echo 'make matrix  run the tests of the Hub files on the oldest, the pinned and the newest transformers'
	@echo 'make bench   run every program in benchmarks/ and print what it measured'
	@echo 'make docs    run what the README shows and follow every link in it and in docs/'
	@echo 'make clean   remove what make has made: .venv, build and caches'
	@echo
	@echo 'Each sets up what it needs: $(VENV), the versions in constraints.txt, and Elixir, bubblewrap and gcc through apt.'
	@echo 'NO_SETUP=1 leaves all that alone and takes the `python` on the PATH.'

demo: base
	@$(PY) -m elixir_coder generate --temperature 0.5 --repetition_penalty 1.15 --seed 15 --max_new_tokens 96 -- "$$PROMPT"

test: dev
	@$(PY) -m pytest -q $(PYTEST_ARGS)

check: dev
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy

# One core throughout. A second run keeps the corpus and the tokenizer, and goes on where training stopped.
TINY := build/tiny
tiny: dev $(TINY)/tokenizer/tokenizer.json
	@echo 'Training a model of 1.3M parameters (recipes/minutes.args) ...'
	@$(PY) train.py @recipes/minutes.args --resume
	@$(PY) -m elixir_coder generate --model $(TINY)/run/best --temperature 0.7 --max_new_tokens 64 -- "$$PROMPT"

$(TINY)/corpus/dataset_info.json: | dev
	@echo "Collecting Elixir's own source from Debian ..."
	@$(PY) -m elixir_coder data collect debian --suites bookworm trixie --packages elixir-lang elixir-earmark-parser \
	    --validation_packages elixir-earmark-parser --out $(TINY)/corpus

$(TINY)/tokenizer/tokenizer.json: $(TINY)/corpus/dataset_info.json
	@echo 'Training a tokenizer of 3072 entries ...'
	@OMP_NUM_THREADS=1 RAYON_NUM_THREADS=1 $(PY) -m elixir_coder tokenizer train --vocab_size 3072 \
	    --data $(TINY)/corpus --out $(TINY)/tokenizer

# Environments stay in build/matrix for the next time; the table goes into docs/MATRIX.md.
matrix: dev
	@$(PY) tests/matrix.py

bench: dev
	@set -e; for program in benchmarks/bench_*.py; do echo "== $$program"; $(PY) "$$program"; done

docs: dev
	@$(PY) -m pytest -q tests/test_readme.py $(PYTEST_ARGS)

clean:
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------------------------------------------------------- set-up

ifdef NO_SETUP
PY := python
base dev:
else
PY  := $(VENV)/bin/python
# quiet about setuptools' advice on editable installs; errors still show
PIP := PYTHONWARNINGS=ignore $(PY) -m pip install --quiet --disable-pip-version-check --no-input --constraint constraints.txt
PINS := constraints.txt setup.cfg pyproject.toml
base: system $(VENV)/.base
dev: system $(VENV)/.dev
endif

$(VENV)/.base: $(PINS) | $(PY)
	@echo 'Installing elixir-coder into $(VENV) (torch is the bulk of it) ...'
	@$(PIP) --editable '.[decode]'
	@touch $@

# torchao stands apart: whatever process sees it prints what it misses on a CPU. tests/conftest.py looks there.
$(VENV)/.dev: $(PINS) | $(PY)
	@echo 'Installing elixir-coder with all its extras into $(VENV) ...'
	@$(PIP) --editable '.[dev,decode,train,data,ontology,export,pictures]'
	@$(PIP) --no-deps --upgrade --target $(VENV)/apart torchao
	@touch $(VENV)/.base $@

$(VENV)/bin/python: | system
	@for python in $(PYTHONS); do \
	    if $(call usable,$$python); then exec $$python -m venv --clear $(VENV); fi; \
	done; \
	echo 'error: this needs Python 3.11 or newer with its venv module. Debian and Ubuntu: apt install python3-venv' >&2; exit 2

# Python: the one named by PYTHON=..., else the first of these that is new enough and can make a virtual environment.
PYTHONS := $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11
usable = $(1) -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null

# Programs that pip cannot bring. Where we may not install them, say so and go on: the model runs without, and the tests
# that need Elixir say that they were skipped.
system:
	@missing=; \
	command -v elixir >/dev/null || missing="$$missing elixir"; \
	command -v bwrap >/dev/null || missing="$$missing bubblewrap"; \
	command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null || \
	    missing="$$missing gcc libc6-dev"; \
	if [ ! -x $(VENV)/bin/python ]; then \
	    found=; for python in $(PYTHONS); do if $(call usable,$$python); then found=yes; fi; done; \
	    [ "$$found" ] || missing="$$missing python3-venv"; \
	fi; \
	[ "$$missing" ] || exit 0; \
	if ! command -v apt-get >/dev/null; then as=none; \
	elif [ "$$(id -u)" = 0 ]; then as=; \
	elif sudo -n true 2>/dev/null; then as='sudo -n'; \
	else as=none; fi; \
	if [ "$$as" = none ]; then \
	    echo "note: not installed, and not ours to install here:$$missing. As root: apt install$$missing" >&2; exit 0; \
	fi; \
	echo "Installing system packages:$$missing ..."; \
	$$as apt-get update -qq >/dev/null && \
	$$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null || \
	echo "note: apt could not install$$missing; Elixir checks will not run until it can" >&2
