# The whole interface: make setup | demo | test | nightly | check | bench | goldens | docs | clean
# Needs python3 (3.11 or newer) and make; everything else is installed below .venv by the first target that runs.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# Compiled modules are kept: without them every process of a mesh compiles its imports again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test nightly unit check format bench fuzz goldens docs clean

help:
	@echo "make demo     a whole mesh on this machine: control plane, gateway, six services, canary tour"
	@echo "make test     unit, flow and end-to-end tests (real Envoy)"
	@echo "make nightly  10,000 explanations held to real Envoy (2 to 10 minutes)"
	@echo "make check    ruff, mypy --strict, import-linter"
	@echo "make bench    measure speed and memory; results in bench/results/"
	@echo "make fuzz     damage documents and bytes, FUZZ_SECONDS (60) for each target; needs Linux"
	@echo "make goldens  rewrite the golden files after a wanted change"
	@echo "make docs     regenerate docs/reference from the code"

setup: $(READY)

$(READY): pyproject.toml uv.lock build_descriptors.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Lateen needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || command -v uv >/dev/null \
		|| { echo "This Python has no venv module. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@if command -v uv >/dev/null; then UV=uv; else \
		test -x .uv/bin/uv || { echo "installing uv into .uv/ ..."; $(PYTHON) -m venv .uv && .uv/bin/pip install --quiet 'uv>=0.8'; }; \
		UV=.uv/bin/uv; fi; \
	echo "installing Lateen into .venv/ ..."; \
	UV_PROJECT_ENVIRONMENT=.venv $$UV sync --quiet --frozen --compile-bytecode --reinstall-package lateen --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@

demo: $(READY)
	@$(BIN)/lateen demo $(DEMO_FLAGS)

# They take well-known ports of this machine, on every address: the demo, and sidecars that intercept on the host.
ALONE := tests/e2e/test_demo.py tests/e2e/test_dns.py tests/e2e/test_interception.py \
	tests/e2e/test_probes_intercepted.py

# Unit tests first: they are quick (in one process, which starts sooner than two) and say more. Then two workers, a file
# each (beds of a file are shared, and have fixed addresses); last those that must be alone.
test: unit
	@$(BIN)/pytest tests/flow tests/e2e -n 2 --dist loadfile $(ALONE:%=--ignore %) $(PYTEST_FLAGS)
	@$(BIN)/pytest $(ALONE) $(PYTEST_FLAGS)

# What takes too long for every change: explanations against real Envoy, 10,000 random pairs of a mesh and a request.
nightly: $(READY)
	@LATEEN_EXPLAIN_PAIRS=10000 LATEEN_EXPLAIN_SEED=$${LATEEN_EXPLAIN_SEED:-$$(date +%Y%m%d)} $(BIN)/pytest tests/e2e/test_explain_routes.py -s $(PYTEST_FLAGS)

unit: $(READY)
	@$(BIN)/pytest tests/unit -q $(PYTEST_FLAGS)

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(READY)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(READY)
	@$(BIN)/python bench/run.py $(BENCH_FLAGS)

FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= documents paths durations requests

# atheris has wheels for Linux only, so it is no dependency; findings stay in .fuzz/.
fuzz: $(READY)
	@HYPOTHESIS_PROFILE=thorough $(BIN)/pytest tests/unit/config/test_fuzz_documents.py -q
	@test -d .fuzz/site || { UV=$$(command -v uv || echo .uv/bin/uv); $$UV pip install --quiet --python $(BIN)/python --target .fuzz/site 'atheris>=3,<4'; }
	@for target in $(FUZZ_TARGETS); do echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
		PYTHONPATH=.fuzz/site $(BIN)/python fuzz/target.py $$target -max_total_time=$(FUZZ_SECONDS) -timeout=10 \
			-max_len=4000 -artifact_prefix=.fuzz/$$target- -print_final_stats=1 -verbosity=0 || exit 1; done

goldens: $(READY)
	@$(BIN)/pytest tests/unit/generate tests/unit/agent/interception -q --update-goldens

docs: $(READY)
	@$(BIN)/python -m lateen.cli.reference
	@$(BIN)/python -m lateen.cli.kind_reference
	@$(BIN)/python -m lateen.api.metrics
	@$(BIN)/python -m lateen.config.codes > docs/reference/findings.md
	@$(BIN)/python -m lateen.config.unsupported > docs/reference/unsupported.md

clean:
	rm -rf .venv .uv .fuzz .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache src/lateen/envoy/*.binpb
