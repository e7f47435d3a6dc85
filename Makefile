# From a bare clone: `make run` trains the quickstart job, `make test` runs the tests; `make help` lists the rest.
# Set-up happens once. Its stamps depend on pyproject.toml and constraints.txt alone, so a second call asks no network;
# the package is installed editable, so an edited file needs no new installation either.

PYTHON ?= python3
# Two tests at a time: most wait for a process that imports torch. Idle threads sleep instead of spinning, since a core
# that spins here is a core that another test waits for. Files go in the order of their folders: the long ones of cluster
# and end_to_end first, or the longest test of all, alone in its file, would begin when the rest is done.
WORKERS ?= 2
# Of the benches (docs/speed.md): seeds, of which medians are taken; ROWS, all where empty; `JOURNAL=` writes nothing.
REPEATS ?= 3
JOURNAL ?= docs/journal.md
# `make install HASHES=1`: of all packages but torch and DeepSpeed only files whose sha256 stands in requirements.lock
# (those that tests need among them)
HASHES ?=
# Of `make chaos` (docs/reliability.md), for each kind of fault; SEED= takes another one each time.
MINUTES ?= 10
VENV := .venv
BIN := $(VENV)/bin
# As a variable, not as `-c`: pip then holds the tools that build DeepSpeed and runjob to the same versions.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# DeepSpeed's extensions are never compiled: training here uses none of them (docs/decisions/0006-deepspeed.md).
export DS_BUILD_OPS := 0

.DEFAULT_GOAL := help
.PHONY: help install run test check bench chaos dev docs wheel sdist constraints clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

install: $(VENV)/.installed  ## .venv with .venv/bin/runjob

run: install  ## train the quickstart job on real Dutch text, then let the model write
	$(BIN)/runjob jobs/tiny/gpt2_dutch.yaml
	$(BIN)/runjob generate gpt2_dutch_tiny@latest

test: $(VENV)/.installed-dev  ## the tests; ARGS='-m "not slow"' for the seconds, ARGS='-m nightly' for the longest, ARGS='tests/schemas' for a folder
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.installed-dev .links/runjob  ## format, lint, types, layers, job files: half a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	MYPYPATH=.links $(BIN)/mypy -p runjob
	PYTHONPATH=.links $(BIN)/lint-imports --no-cache
	$(BIN)/runjob validate $(wildcard jobs/*.yaml jobs/tiny/*.yaml)

bench: $(VENV)/.installed-dev  ## speed beside the usual ways, into docs/journal.md; ROWS="mlm_short clm" REPEATS=1 for a look
	$(BIN)/python benchmarks/answers.py
	$(BIN)/python benchmarks/start.py
	$(BIN)/python -m benchmarks.speed --repeats $(REPEATS) --rows $(ROWS) $(if $(JOURNAL),--journal $(JOURNAL))

chaos: $(VENV)/.installed-dev  ## break things for real, and see that nothing is lost; ONLY="kills damage" MINUTES=60 SEED=7
	$(BIN)/python -m benchmarks.chaos --minutes $(MINUTES) $(if $(ONLY),--only $(ONLY)) $(if $(SEED),--seed $(SEED))

dev: $(VENV)/.installed-dev .links/runjob  ## the set-up of a developer: tools, links for mypy, pre-commit hook
	$(BIN)/pre-commit install

wheel: install  ## dist/runjob-VERSION-py3-none-any.whl
	$(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

docs: $(VENV)/.installed-dev  ## the documentation as a site in build/site, every warning an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

sdist: install  ## dist/runjob-VERSION.tar.gz
	$(BIN)/python -c "import setuptools.build_meta as it; it.build_sdist('dist')"

constraints:  ## resolve pyproject.toml anew, in an environment of its own, and write constraints.txt and hashes
	scripts/make_constraints.sh $(PYTHON)

clean:  ## remove what make made here: environment, links, caches, builds (never runs/)
	rm -rf $(VENV) .links .editor-server build dist runjob.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# A stamp and not the interpreter: a `python -m venv` that was stopped half-way leaves an interpreter without pip.
$(VENV)/.created:
	@scripts/check_system.sh $(PYTHON)
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# torch first and alone: it is the one package that comes in several builds, and pip's own configuration on this
# machine says which (a CPU file where one is offered); what follows then finds it in place.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/.created
	$(if $(HASHES),$(BIN)/python -m pip install --require-hashes --no-deps --requirement requirements.lock)
	$(BIN)/python -m pip install torch
	$(BIN)/python -m pip install --editable '.[report]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/.installed
	$(BIN)/python -m pip install --editable '.[dev]'
	@touch $@

# mypy and import-linter read folders, not the editable hook; the links show them the tree by its import path.
.links/runjob: pyproject.toml
	mkdir -p $@
	for folder in schemas launchers data runner; do ln -sfn ../../$$folder $@/$$folder; done
	@touch $@
