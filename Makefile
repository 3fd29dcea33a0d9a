# make quickstart   set up, and show the whole way on the sample model (DIR=quickstart)
# make test         every check: ruff, mypy, import-linter, pytest
# make lint         the first three
# make format       let ruff format and fix what it can
# make docs         the documentation as a site, in build/site
# make dist         wheel and source distribution, in dist
# make clean        remove what the others made
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
DIR ?= quickstart
DEV ?= .venv-dev
BIN := $(VENV)/bin
# of its own: the tests need an OpenCV with a darknet importer, users get the newest
DEV_BIN := $(DEV)/bin
FARM := build/farm
# whole files, so that no worker makes the fixtures of a file again; tests/conftest.py has the longest first
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: quickstart test lint format clean schema docs dist

quickstart: $(VENV)/.installed
	@$(BIN)/yolo-edge quickstart $(DIR)
	@echo "More: source $(VENV)/bin/activate; yolo-edge --help; README.md"

test: lint
	$(DEV_BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(DEV)/.installed farm
	$(DEV_BIN)/ruff check .
	$(DEV_BIN)/ruff format --check .
	cd $(FARM) && MYPYPATH=. $(abspath $(DEV_BIN))/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p yolo_edge
	cd $(FARM) && $(abspath $(DEV_BIN))/lint-imports --config ../../pyproject.toml --no-cache

format: $(DEV)/.installed
	$(DEV_BIN)/ruff check --fix .
	$(DEV_BIN)/ruff format .

schema: $(DEV)/.installed
	$(DEV_BIN)/python tools/write_schema.py

docs: $(DEV)/.installed
	NO_MKDOCS_2_WARNING=1 $(DEV_BIN)/mkdocs build --strict

dist: $(DEV)/.installed
	rm -rf dist
	$(DEV_BIN)/python -m build
	$(DEV_BIN)/twine check --strict dist/*

clean:
	rm -rf build dist out quickstart $(VENV) $(DEV) *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache

# mypy and import-linter follow folders, not setup.cfg: links show them the package as it is installed
.PHONY: farm
farm:
	@rm -rf $(FARM) && mkdir -p $(FARM)/yolo_edge
	@ln -s $(CURDIR)/yolo_edge/* $(FARM)/yolo_edge/
	@for room in export benchmarks devices; do ln -s $(CURDIR)/$$room $(FARM)/yolo_edge/$$room; done

$(BIN)/python $(DEV_BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "yolo-edge needs Python 3.10 or newer, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(@:/bin/python=)

$(VENV)/.installed: $(BIN)/python setup.cfg
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	@touch $@

$(DEV)/.installed: $(DEV_BIN)/python setup.cfg
	$(DEV_BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@
