PYTHON  ?= python3
SECONDS ?= 60
NODES   ?= 5
WORKERS ?= 4

PY    := .venv/bin/python
ENTER := lab/enter
TYPED := $(wildcard grasp asa objectives lab)
BENCH := $(patsubst bench/%.py,bench.%,$(wildcard bench/grasp_*.py bench/asa_*.py))

.DEFAULT_GOAL := help
.PHONY: help setup venv lint test run demo fuzz simulate bench clean

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: # what the tests need from the system
	@PYTHON='$(PYTHON)' .ci/setup

venv: .venv/stamp ## the virtual environment .venv, with everything in it

# compat: an editable install that also sees packages added to the tree later
.venv/stamp: setup.cfg | setup
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check \
		--config-settings editable_mode=compat --editable '.[pcap,test,dev]'
	@touch $@

lint: venv ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --quiet --check .
	$(PY) -m mypy --strict $(TYPED)

# Hundreds of processes start, and none shall compile what another has. Tests wait about as long as they compute, so
# WORKERS may be more than there are processors. Files come in their order, so that a long one is not left for the end.
test: export PYTHONDONTWRITEBYTECODE =
test: lint ## lint, then the tests
	$(ENTER) $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

run: venv ## the lab: agents share out bandwidth for a day, one is killed; docs/lab.md
	@$(ENTER) $(PY) -m lab.domain

demo: venv ## two GRASP nodes negotiate, before your eyes
	$(ENTER) $(PY) -m examples.two_nodes

fuzz: venv ## hostile bytes for GRASP, then for the API, SECONDS (60) each
	$(ENTER) $(PY) -m tests.fuzz --seconds $(SECONDS)
	$(ENTER) $(PY) -m tests.fuzz_api --seconds $(SECONDS)

simulate: venv ## agents under misfortune, SECONDS (60) long, NODES (5) a network
	$(PY) -m tests.simulator --seconds $(SECONDS) --nodes $(NODES)

bench: venv ## each benchmark, one JSON object per result
	@set -e; for module in $(BENCH); do $(ENTER) $(PY) -m $$module; done

clean: ## remove everything that make made
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
