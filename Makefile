# make demo | test | bench | dist | clean: each works in a fresh clone with Python >= 3.11 and a package index.
PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/demo
BIN := $(VENV)/bin

.PHONY: help demo test lint bench dist clean

help:
	@echo "make demo   a made-up shop, a model tuned on it, its figures and three answers (RUN=$(RUN))"
	@echo "make test   style, types and tests"
	@echo "make bench  speed of every stage, fairness of the made-up shop, the demo's promise"
	@echo "make dist   sdist and wheel in dist/"
	@echo "make clean  remove the environments and what was built"

# The stamps stand for "installed from these very files"; a change of either installs again.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

$(VENV)/.installed-rivals: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[rivals,ray]"
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/instructrec models pull minilm || \
	  echo "minilm could not be fetched: words are matched as they are written, everything else works"
	$(BIN)/instructrec demo --out $(RUN)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

bench: demo $(VENV)/.installed-rivals
	$(BIN)/python benchmarks/demo_claims.py $(RUN)
	$(BIN)/python benchmarks/import_speed.py
	$(BIN)/python benchmarks/corpus_speed.py --users 10000 --items 5000 --events 100000
	$(BIN)/python benchmarks/teacher_kills.py
	$(BIN)/python benchmarks/tuning_speed.py
	$(BIN)/python benchmarks/ranking.py
	$(BIN)/python benchmarks/matching.py --data $(RUN)/dataset --backbone $(RUN)/model
	$(BIN)/python benchmarks/vector_search.py --items 1000000
	$(BIN)/python benchmarks/long_histories.py --run $(RUN)
	$(BIN)/python benchmarks/market_fairness.py

dist: $(VENV)/.installed-dev
	rm -rf dist
	$(BIN)/python -m build --outdir dist

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
