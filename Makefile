# Two commands matter: `make book` and `make test`. `make help` lists the rest.

VENV := .venv
BIN := $(VENV)/bin
PARAMS ?= params/quick.yaml
PORT ?= 8000
# A file of tests stays with one process: what they share is compiled once.
PYTEST_ARGS ?= -n auto --dist loadfile --durations=15
# What `make check` leaves to `make test`.
QUICK := not slow and not book
GRID ?= smoke
PROFILE ?= local

# Scripts of an environment and addresses of its files have these characters for other ends.
ifneq ($(shell pwd -P | awk 'NR > 1 || /[:"$$`%?\\]/ { print "unfit"; exit }'),)
$(error The path of this folder holds one of : " $$ ` % ? \ or a line break, with which its environment would not work: move or rename the folder)
endif

# An unknown profile of the grid is refused before anything is made for it.
PROFILES := $(patsubst workflow/profiles/%/config.yaml,%,$(wildcard workflow/profiles/*/config.yaml))
ifneq ($(filter grid,$(MAKECMDGOALS)),)
ifeq ($(and $(filter 1,$(words $(PROFILE))),$(filter $(PROFILES),$(PROFILE))),)
$(error PROFILE=$(PROFILE): give one of: $(PROFILES))
endif
endif

# The first Python found that is new enough; PYTHON=... on the command line overrides it.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

# Everything that Jupyter, IPython and matplotlib like to write into the home folder stays in here.
STATE := $(CURDIR)/$(VENV)/var
export IPYTHONDIR := $(STATE)/ipython
export JUPYTER_CONFIG_DIR := $(STATE)/jupyter/config
export JUPYTER_DATA_DIR := $(STATE)/jupyter/data
export JUPYTER_RUNTIME_DIR := $(STATE)/jupyter/runtime
export JUPYTER_PREFER_ENV_PATH := 1
export MPLCONFIGDIR := $(STATE)/matplotlib
export PYDEVD_DISABLE_FILE_VALIDATION := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Nor does what a user has set lead to other packages, other places to install them, or another repository.
export PIP_USER := 0
unexport PIP_PREFIX PIP_ROOT PIP_TARGET PYTHONHOME PYTHONPATH JUPYTER_PATH MATPLOTLIBRC GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

# The stamp is named after the content it was made from: a checkout that only touches the files reinstalls nothing.
STAMP := $(VENV)/installed-$(shell cat requirements.lock pyproject.toml | cksum | cut -d ' ' -f 1)
PIP := python -m pip install --quiet --disable-pip-version-check

# An environment belongs to its folder, whose path stands in its scripts, and to the Python that it was made from.
# Shell test $(call whole,FOLDER): the environment there fits, and was made to its end (`activate` comes last).
whole = ( . ./$(1)/bin/activate && test "$$VIRTUAL_ENV" = "$$(pwd -P)/$(1)" && $(1)/bin/python -I -c 'import pip' ) >/dev/null 2>&1
# Prerequisite $(call unless_whole,FOLDER): makes its target again if the environment is not whole.
unless_whole = $(shell $(call whole,$(1)) || echo again)
# Recipe $(call venv,FOLDER): makes the environment, unless it is whole.
define venv
@$(call whole,$(1)) || { \
	test -n "$(PYTHON)" || { echo "patchscape needs Python 3.11 or newer, and none was found: install one, or name it with 'make $(MAKECMDGOALS) PYTHON=/path/to/python'." >&2; exit 1; }; \
	"$(PYTHON)" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "patchscape needs Python 3.11 or newer, and $(PYTHON) $$("$(PYTHON)" -I -c 'import platform; print("is", platform.python_version())' 2>/dev/null || echo "does not run as Python"): name another with 'make $(MAKECMDGOALS) PYTHON=/path/to/python'." >&2; exit 1; }; \
	"$(PYTHON)" -I -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing: on Debian or Ubuntu, install the package python3-venv." >&2; exit 1; }; \
	test ! -e $(1) || echo "The environment in $(1) is unfinished or was made for another folder: it is made anew."; \
	{ rm -rf $(1) && mkdir $(1); } 2>/dev/null || { echo "$(CURDIR)/$(1) cannot be made, and the environment goes there: check the permissions and the space, or copy the project to a folder of your own." >&2; exit 1; }; \
	"$(PYTHON)" -m venv $(1); }
endef

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help env again book check test figures lab grid known-grid bench chapters screenshots pdf lint format lock serve clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-12s%s\n", $$1, $$2 }' Makefile

env: $(STAMP) ## make the environment .venv from requirements.lock (needed once; offline afterwards)

$(STAMP): $(call unless_whole,$(VENV)) | requirements.lock
	$(call venv,$(VENV))
	@echo "Installing the pinned environment into $(VENV) (once, a few minutes) ..."
	@$(BIN)/$(PIP) -r requirements.lock
	@$(BIN)/$(PIP) --no-deps -e .
	@mkdir -p "$$IPYTHONDIR/profile_default" "$$JUPYTER_CONFIG_DIR" "$$JUPYTER_DATA_DIR" "$$JUPYTER_RUNTIME_DIR" "$$MPLCONFIGDIR"
	@echo 'c.IPKernelApp.log_level = 40  # no warning about local, unencrypted kernels' > "$$IPYTHONDIR/profile_default/ipython_kernel_config.py"
	@$(BIN)/python -m ipykernel install --sys-prefix --name python3 >/dev/null
	@rm -f $(VENV)/installed-* && touch $@

book: env ## execute every chapter, build and check the book, print where it is
	@$(BIN)/python tools/build_book.py

check: env lint ## lint, then tests that need no built book, and take no more than about five seconds each (three minutes)
	@$(BIN)/python -m pytest -m "$(QUICK)" $(PYTEST_ARGS)

test: env lint book ## run every check: lint, the book, unit tests, doctests, chapters, browser
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

figures: env ## run all chapters with PARAMS=params/quick.yaml and write every figure and page to out/figures
	@$(BIN)/patchscape figures --params "$(PARAMS)" --out out/figures

lab: env ## open the chapters in JupyterLab
	@$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/chapters/01_architecture.ipynb

grid: env known-grid .venv-grid/installed ## run what is missing of GRID=smoke (or laptop, controls, paper, datasets, chapters); GRID_ARGS=-n only shows it
	@PATCHSCAPE="$(CURDIR)/$(BIN)/patchscape" .venv-grid/bin/snakemake -s workflow/Snakefile \
		--profile workflow/profiles/$(PROFILE) $(GRID_ARGS) --config grid=$(GRID)

known-grid: env
	@$(BIN)/patchscape grid "$(GRID)" --names >/dev/null

.venv-grid/installed: workflow/requirements.txt $(call unless_whole,.venv-grid)
	$(call venv,.venv-grid)
	@.venv-grid/bin/$(PIP) -r workflow/requirements.txt
	@touch $@

lint: env ## check style, docstrings, formatting, types, declared dependencies and who imports whom
	@$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/ruff format --check --quiet . || { echo "Some files are not formatted: run 'make format'." >&2; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/deptry lib
	@$(BIN)/deptry lib tools tests benchmarks chapters workflow --ignore DEP002,DEP004
	@$(BIN)/lint-imports --no-cache --no-logo

format: env ## format the code and the notebooks, mend what ruff can mend
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

lock: env ## renew the pins in requirements.lock after a change of pyproject.toml (needs the network)
	@$(BIN)/uv pip compile pyproject.toml --quiet --all-extras --universal --python-version 3.11 \
		--no-emit-index-url --no-annotate --custom-compile-command "make lock" -o requirements.lock

serve: env ## show the built book at http://localhost:8000 (PORT=8000), to this machine only
	@$(BIN)/python tools/serve_book.py "$(PORT)"

bench: ## time the simulator against others side by side (own environments; about an hour)
	$(call venv,.venv-bench)
	@.venv-bench/bin/$(PIP) -r requirements.lock -r benchmarks/requirements.txt
	@.venv-bench/bin/$(PIP) --no-deps -e . torchquantum==0.1.7
	$(call venv,.venv-catalyst)
	@.venv-catalyst/bin/$(PIP) -r benchmarks/requirements-catalyst.txt
	@.venv-bench/bin/python benchmarks/run.py --python catalyst=.venv-catalyst/bin/python $(BENCH_ARGS)

chapters: env ## measure seconds and peak memory of every chapter for the page Status (about five minutes)
	@$(BIN)/python benchmarks/chapters.py $(CHAPTERS)

screenshots: env ## take pictures of every page of the built book: desktop, phone, dark, print (out/screenshots)
	@$(BIN)/python tools/screenshots.py

pdf: book ## print the whole book to one PDF file through chromium (out/patchscape.pdf)
	@$(BIN)/python tools/print_book.py

clean: ## remove the built book and caches (environments, compiled programs, out/ and runs/ stay)
	@rm -rf _build build .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find . -path './.venv*' -prune -o -path ./runs -prune -o -path ./out -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
