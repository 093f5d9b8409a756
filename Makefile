# Two commands matter: `make book` and `make test`. `make help` lists the rest.

VENV := .venv
BIN := $(VENV)/bin
PARAMS ?= params/quick.yaml
PORT ?= 8000
# A file of tests stays with one process: what they share is compiled once.
PYTEST_ARGS ?= -n auto --dist loadfile --durations=15
GRID ?= smoke
PROFILE ?= local

# The first Python found that is new enough; PYTHON=... on the command line overrides it.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

# The stamp is named after the content it was made from: a checkout that only touches the files reinstalls nothing.
STAMP := $(VENV)/installed-$(shell cat requirements.lock pyproject.toml | cksum | cut -d ' ' -f 1)

# Everything that Jupyter, IPython and matplotlib like to write into the home folder stays in here, and so do compiled
# programs, which make a second run much faster.
STATE := $(CURDIR)/$(VENV)/var
export IPYTHONDIR := $(STATE)/ipython
export JUPYTER_CONFIG_DIR := $(STATE)/jupyter/config
export JUPYTER_DATA_DIR := $(STATE)/jupyter/data
export JUPYTER_RUNTIME_DIR := $(STATE)/jupyter/runtime
export JUPYTER_PREFER_ENV_PATH := 1
export MPLCONFIGDIR := $(STATE)/matplotlib
export JAX_COMPILATION_CACHE_DIR := $(STATE)/jax
export PYDEVD_DISABLE_FILE_VALIDATION := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help env book test figures grid bench chapters screenshots pdf lint format lock serve clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

env: $(STAMP) ## make the environment .venv from requirements.lock (needed once; offline afterwards)

$(STAMP): | requirements.lock
	@test -n "$(PYTHON)" || { echo "patchscape needs Python 3.11 or newer, and none was found: install one, or name it with 'make $(MAKECMDGOALS) PYTHON=/path/to/python'." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "patchscape needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1): name another with 'make $(MAKECMDGOALS) PYTHON=/path/to/python'." >&2; exit 1; }
	@echo "Installing the pinned environment into $(VENV) (once, a few minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is missing: on Debian or Ubuntu, install the package python3-venv." >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@mkdir -p $(IPYTHONDIR)/profile_default $(JUPYTER_CONFIG_DIR) $(JUPYTER_DATA_DIR) $(JUPYTER_RUNTIME_DIR) $(MPLCONFIGDIR)
	@echo 'c.IPKernelApp.log_level = 40  # no warning about local, unencrypted kernels' > $(IPYTHONDIR)/profile_default/ipython_kernel_config.py
	@$(BIN)/python -m ipykernel install --sys-prefix --name python3 >/dev/null
	@rm -f $(VENV)/installed-* && touch $@

book: env ## execute every chapter, build and check the book, print where it is
	@$(BIN)/python tools/build_book.py

test: env lint book ## run every check: lint, the book, unit tests, doctests, chapters, browser
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

figures: env ## run all chapters with PARAMS=params/quick.yaml and write every figure to out/figures
	@$(BIN)/patchscape figures --params $(PARAMS) --out out/figures

grid: env .venv-grid/installed ## run what is missing of GRID=laptop (controls, paper, datasets, smoke); GRID_ARGS=-n only shows it
	@PATCHSCAPE="$(CURDIR)/$(BIN)/patchscape" .venv-grid/bin/snakemake -s workflow/Snakefile \
		--profile workflow/profiles/$(PROFILE) $(GRID_ARGS) --config grid=$(GRID)

.venv-grid/installed: workflow/requirements.txt
	@test -x .venv-grid/bin/python || $(PYTHON) -m venv .venv-grid
	@.venv-grid/bin/python -m pip install --quiet --disable-pip-version-check -r workflow/requirements.txt
	@touch $@

lint: env ## check style, docstrings and formatting
	@$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/ruff format --check --quiet . || { echo "Some files are not formatted: run 'make format'." >&2; exit 1; }

format: env ## format the code and the notebooks, mend what ruff can mend
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

lock: env ## renew the pins in requirements.lock after a change of pyproject.toml (needs the network)
	@$(BIN)/uv pip compile pyproject.toml --quiet --all-extras --universal --python-version 3.11 \
		--no-emit-index-url --no-annotate --custom-compile-command "make lock" -o requirements.lock

serve: env ## show the built book at http://localhost:8000 (PORT=8000)
	@$(BIN)/python -m http.server $(PORT) --directory _build/html

bench: ## time the simulator against others side by side (own environment; about half an hour)
	@test -n "$(PYTHON)" || { echo "patchscape needs Python 3.11 or newer." >&2; exit 1; }
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock -r benchmarks/requirements.txt
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e . torchquantum==0.1.7
	@.venv-bench/bin/python benchmarks/run.py $(BENCH_ARGS)

chapters: env ## measure seconds and peak memory of every chapter for the page Status (about ten minutes)
	@$(BIN)/python benchmarks/chapters.py $(CHAPTERS)

screenshots: env ## take pictures of every page of the built book: desktop, phone, dark, print (out/screenshots)
	@$(BIN)/python tools/screenshots.py

pdf: book ## print the whole book to one PDF file through chromium (out/patchscape.pdf)
	@$(BIN)/python tools/print_book.py

clean: ## remove everything built (the environment stays)
	@rm -rf _build out build .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './$(VENV)/*' -type d -prune -exec rm -rf {} +
