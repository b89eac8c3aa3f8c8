# From nothing to a result: every target makes its own virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= demo
DIST ?= dist
# Tests run side by side; each worker takes about 2 GB.
WORKERS ?= 2
# XLA's own default, which `make test` lowers (tests/conftest.py).
OPTIMISED := --xla_backend_optimization_level=3

.DEFAULT_GOAL := help
.PHONY: help demo test test-all parity check format bench docs pictures wheel clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

# A stamp for each set of extras, so that the demo needs neither torch nor linters.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.installed

# The compiler for TPUs, for the tests that compile for one. It lies beside the packages and not among
# them: JAX starts what it finds there in every process, and without a TPU that writes lines to
# stderr. It has wheels for some machines only; without it those tests are skipped, by name.
$(VENV)/.installed-libtpu: $(VENV)/.installed-dev
	@if [ "$$(uname -sm)" = "Linux x86_64" ]; then \
	  needed=$$($(BIN)/python -c 'from importlib.metadata import requires; print(next(r.split(";")[0] for r in requires("jax") if r.startswith("libtpu")))') && \
	  $(BIN)/python -m pip install --quiet --no-deps --only-binary=:all: --upgrade --target $(VENV)/libtpu "$$needed" && \
	  touch $@ || echo "libtpu could not be installed"; \
	fi

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@ $(VENV)/.installed

demo: $(VENV)/.installed  ## train a Pythia in miniature, score every checkpoint, write demo/report.html
	$(BIN)/jaxmap demo --out=$(OUT)

test: $(VENV)/.installed-dev $(VENV)/.installed-libtpu  ## the test suite
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

test-all: $(VENV)/.installed-dev $(VENV)/.installed-libtpu  ## the test suite with the slow tests, compiled as users compile
	XLA_FLAGS=$(OPTIMISED) $(BIN)/python -m pytest -n $(WORKERS) -m '' $(ARGS)

parity: $(VENV)/.installed-dev  ## compare every family with PyTorch; the figures of `jaxmap families`
	rm -f $(VENV)/parity.jsonl
	XLA_FLAGS=$(OPTIMISED) JAXMAP_PARITY=$(abspath $(VENV))/parity.jsonl $(BIN)/python -m pytest -n $(WORKERS) -m '' tests/parity $(ARGS)
	PYTHONPATH=tests $(BIN)/python tests/support/parity_record.py $(VENV)/parity.jsonl jaxmap/architectures/parity.json

check: $(VENV)/.installed-dev  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev  ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev  ## speed and memory against what one would use instead
	$(BIN)/jaxmap bench
	$(BIN)/python benchmarks/lens.py
	$(BIN)/python benchmarks/map.py
	$(BIN)/python benchmarks/sweep.py

docs: $(VENV)/.installed-docs  ## the documentation site, build/site/index.html; warnings and dead links are errors
	PYTHONPATH=. NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "build/site/index.html; its search needs a server: python3 -m http.server -d build/site"

pictures: demo  ## draw the pictures of the documentation anew, from the demo
	$(BIN)/python docs/generate/pictures.py $(OUT)

wheel: | $(VENV)/bin/python  ## dist/jaxmap-VERSION-py3-none-any.whl, for pip install
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir $(DIST) .
	@ls $(DIST)/jaxmap-*.whl

clean:  ## remove the virtual environment, the wheel and the demo
	rm -rf $(VENV) $(OUT) $(DIST) build/site
