# Entry points. `make` alone prints this list.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
TORCH ?=
VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
SNAKEMAKE := $(BIN)/snakemake
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# folder of the run that config/config.yaml describes
RUN = results/$(shell $(BIN)/python -c 'from mlepi_core.config import load_config as c; print(c("config/config.yaml").run.name)')
# one BLAS thread per process: tests and jobs run side by side
export OMP_NUM_THREADS ?= 1

.PHONY: help install run test test-fast statistics report unlock lint peers clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo
	@echo "make install TORCH=cpu takes PyTorch's CPU wheels (Linux default is the CUDA build, several GB)."

install: $(STAMP) ## make .venv and install the pinned versions into it

$(STAMP): pyproject.toml constraints.txt
	@fail() { echo "make install: $$*" >&2; exit 1; }
	command -v $(PYTHON) >/dev/null ||
	  fail "there is no $(PYTHON): install Python 3.11 or newer (Debian, Ubuntu: apt install python3 python3-venv)"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	  fail "$$($(PYTHON) --version) is too old, Python 3.11 or newer is needed: make install PYTHON=python3.12"
	$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null ||
	  fail "this Python lacks the venv module (Debian, Ubuntu: apt install python3-venv)"
	case "$(TORCH)" in
	  "" | cpu) ;;
	  *) fail "TORCH=$(TORCH) is not known: use TORCH=cpu or leave it out" ;;
	esac
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	echo "make install: installing into $(VENV), a few minutes"
	if [ "$(TORCH)" = cpu ]; then
	  $(PIP) -c constraints.txt --index-url https://download.pytorch.org/whl/cpu torch
	elif ! $(BIN)/python -c 'import torch' 2>/dev/null; then
	  echo "make install: torch comes from the package index (on Linux often with GBs of CUDA; without: TORCH=cpu)"
	fi
	$(PIP) -c constraints.txt -e ".[test]"
	touch $@

run: $(STAMP) ## the main job: bundled data to v_F(T), results in results/quick
	@code=0
	$(SNAKEMAKE) --profile profiles/local || code=$$?
	if [ $$code -eq 0 ]; then
	  $(BIN)/mlepi summary $(RUN)
	elif compgen -G ".snakemake/locks/*" >/dev/null; then
	  echo
	  echo "The folder is locked: another run is in progress, or an earlier one was killed."
	  echo "If no other snakemake works here:  make unlock && make run"
	fi
	exit $$code

test: $(STAMP) ## all tests but those that need Slurm, a GPU or a DFT program (≤ 20 min on 2 cores)
	$(BIN)/python -m pytest -m "not slurm and not gpu and not dft"

test-fast: $(STAMP) ## the quick part of the tests (≤ 3 min)
	$(BIN)/python -m pytest -q -m "not slow and not slurm and not gpu and not dft"

statistics: $(STAMP) ## Hamiltonians that each sampling scheme needs, results in results/statistics
	$(SNAKEMAKE) --profile profiles/local --configfile config/statistics.yaml

report: $(STAMP) ## Snakemake's own report of a finished run
	$(SNAKEMAKE) --profile profiles/local --report $(RUN)/snakemake-report.html

unlock: $(STAMP) ## free the folder after a run was killed
	$(SNAKEMAKE) --profile profiles/local --unlock

lint: $(STAMP) ## ruff, snakefmt, snakemake --lint, codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(SNAKEMAKE) --lint
	$(BIN)/codespell

peers: $(PEERS)/.installed ## make .venv-peers with mace-torch, which `mlepi benchmark networks` compares with

# mace-torch needs an older e3nn than this project, hence an environment of its own; all else is pinned alike.
$(PEERS)/.installed: constraints.txt
	@[ -x $(PEERS)/bin/python ] || $(PYTHON) -m venv $(PEERS)
	grep -v '^e3nn==' constraints.txt > $(PEERS)/constraints.txt
	pip="$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet -c $(PEERS)/constraints.txt"
	echo "make peers: installing mace-torch into $(PEERS), a few minutes"
	if [ "$(TORCH)" = cpu ]; then
	  $$pip --index-url https://download.pytorch.org/whl/cpu torch
	fi
	$$pip mace-torch
	touch $@

clean: ## remove results and caches, keep .venv and .venv-peers
	rm -rf results .snakemake .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)*' -prune -exec rm -rf {} +
