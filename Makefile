# Everything that a developer types; `make` alone lists it.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13; do \
	$$python -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
USE := cpu,embedded,demo
DEVELOP := $(USE),dev
# Threads that wait do not spin: beside other work, spinning makes small steps 20 times slower.
export OMP_WAIT_POLICY ?= passive
DATA ?= ../shared/data

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench bench-speed bench-quality bench-faults clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/installed-use ## the whole road on embedded data, with a report: p5mm-demo/report.html
	$(BIN)/p5mm demo --out p5mm-demo

test: $(VENV)/installed-develop ## all tests
	$(BIN)/pytest

lint: $(VENV)/installed-develop ## ruff, mypy --strict, and the order of the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples
	$(BIN)/lint-imports

bench: $(VENV)/installed-develop ## the benchmarks of speed; results stand in benchmarks/RESULTS.md
	@for name in alignment encoding feature_store lifecycle memory retrieval trie; do \
		echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done

bench-speed: $(VENV)/installed-develop ## recommending and packed scoring beside what others use: needs an idle machine
	$(BIN)/pip install --quiet --editable '.[$(DEVELOP),benchmarks]'
	@for name in packed full_catalog recall_curve recommend; do \
		echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done

bench-quality: $(VENV)/installed-develop ## quality with three seeds, then tasks, ablations, new items, permutations: hours; DATA=FOLDER
	$(BIN)/python benchmarks/quality.py --data $(DATA)
	@for name in views tasks ablation cold permutations; do \
		echo "== $$name"; $(BIN)/python benchmarks/$$name.py --data $(DATA) || exit 1; done

bench-faults: $(VENV)/installed-develop ## 10,000 mutated files, 200 kills of an index and a model, and 50 of a job with MODEL=FOLDER
	$(BIN)/python benchmarks/mutations.py
	$(BIN)/python benchmarks/index_kills.py
	$(BIN)/python benchmarks/model_kills.py
	$(if $(MODEL),$(BIN)/python benchmarks/kills.py $(MODEL))

clean: ## remove what was made here: .venv, caches, builds, p5mm-demo
	rm -rf $(VENV) build dist *.egg-info p5mm-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What is installed follows pyproject.toml; the stamp is newer only after pip has succeeded.
$(VENV)/installed-use: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --editable '.[$(USE)]'
	@touch $@

$(VENV)/installed-develop: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --editable '.[$(DEVELOP)]'
	@touch $@ $(VENV)/installed-use

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "p5mm needs Python 3.11 or newer with its venv module (on Debian:" \
		"apt install python3-venv), and none is on PATH; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
