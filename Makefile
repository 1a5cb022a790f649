# Two commands for a new machine: `make demo` and `make test`. Everything lives in .venv.
PYTHON ?= python3
BIN := .venv/bin
ACTING := $(foreach room,encode acting limiter slower kept parameters arming vehicles answers bridge codec,--cov=mavlink_bridge.$(room))
# What flies or is told to a flight controller byte by byte: every branch has its test.
COVERED := --cov=smartbattery --cov=dronebms.protection --cov=dronebms.limits --cov=dronebms.signals \
	--cov=dronebms.forewarning --cov=dronebms.governor --cov=dronebms.actions $(ACTING) \
	--cov-branch --cov-report= --cov-fail-under=100

.PHONY: demo test check format bench clean

demo: .venv/.installed
	$(BIN)/dronebms sim --speed 10

test: .venv/.tests-installed
	$(BIN)/pytest -q -rs

check: .venv/.tests-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q -rs $(COVERED)

format: .venv/.tests-installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.installed
	$(BIN)/python benchmarks/cost.py
	$(BIN)/python benchmarks/wire.py
	$(BIN)/python benchmarks/screen.py

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/bin/python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "Python is missing; install it with: sudo apt install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: dronebms needs 3.11; install a newer one and name it: make demo PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing; install it with: sudo apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/.installed: pyproject.toml .venv/bin/python
	@echo "Installing dronebms into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/.tests-installed: pyproject.toml .venv/bin/python
	@echo "Installing dronebms and what its tests need into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ .venv/.installed
