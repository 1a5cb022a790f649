# SPDX-License-Identifier: Apache-2.0
# Two commands for a new machine: `make demo` and `make test`. Everything is installed in .venv.
PYTHON ?= python3
BIN := .venv/bin
# Modules that read a gauge, protect a pack or send bytes to a flight controller: a test for every branch.
BRIDGE := --cov=mavlink_bridge.vehicle $(foreach module,messages battery_info_message parameters flight_modes flight_stacks mode_changes codec second_autopilot,--cov=mavlink_bridge.protocol.$(module)) --cov=mavlink_bridge.bridge --cov=mavlink_bridge.components
COVERED := --cov=smartbattery --cov=dronebms.protection.alarms --cov=dronebms.protection.limit_state --cov=dronebms.protection.limits --cov=dronebms.protection.quantities --cov=dronebms.protection.quantity_values --cov=dronebms.protection.current_history \
	--cov=dronebms.protection.time_to_trip --cov=dronebms.protection.current_governor --cov=dronebms.protection.actions $(BRIDGE) \
	--cov-branch --cov-report= --cov-fail-under=100
# The rooms of these modules test every branch by themselves; the trace makes tests half as fast.
GATED := tests/smartbattery tests/protection tests/mavlink_bridge
# A process that has finished takes tests from the others; how many: tests/conftest.py.
PYTEST := $(BIN)/pytest -q -rs -n auto --dist worksteal

# The unit has no access to home folders.
SERVICE_HOME ?= /opt/dronebms
# Optional outputs of the service: make install-service EXTRAS=mqtt,metrics
EXTRAS ?=
PREFIX ?= /usr/local
# /usr/lib in a package of a distribution.
SYSTEM ?= /etc
UNITS := $(DESTDIR)$(SYSTEM)/systemd/system
UDEV_RULES := $(DESTDIR)$(SYSTEM)/udev/rules.d/60-dronebms.rules
SYSUSERS := $(DESTDIR)$(SYSTEM)/sysusers.d/dronebms.conf
MODULES := $(DESTDIR)$(SYSTEM)/modules-load.d/dronebms.conf
BASH_COMPLETION := $(DESTDIR)$(PREFIX)/share/bash-completion/completions/dronebms
ZSH_COMPLETION := $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_dronebms
FISH_COMPLETION := $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/dronebms.fish
MAN_PAGE := $(DESTDIR)$(PREFIX)/share/man/man1/dronebms.1
EXAMPLE := $(DESTDIR)$(PREFIX)/share/dronebms/dronebms.toml
SCHEMA := $(DESTDIR)$(PREFIX)/share/dronebms/dronebms.schema.json

.PHONY: demo demo-size test test-all lint check format bench docs quality site deb lock sbom clean install-service uninstall-service

# Not the script of pip, which has the path of this folder: the folder may be moved.
demo: .venv/.installed
	$(BIN)/python -m dronebms.cli sim --flight mission --speed 10

# Megabytes of .venv, compiled files included, and of its largest packages.
demo-size: .venv/.installed
	@du -sm .venv
	@cd .venv/lib/python3*/site-packages && du -sm * | sort -rn | head -12

test: .venv/.tests-installed
	$(PYTEST) -m "not slow"

# The rest: the gate of branch coverage, and the slow tests of the other rooms.
test-all: .venv/.tests-installed
	$(PYTEST) $(COVERED) $(GATED)
	$(PYTEST) -m slow $(addprefix --ignore=,$(GATED))

lint: .venv/.tests-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.lint.language
	$(BIN)/python -m tests.lint.module_state
	$(BIN)/python -m tests.lint.sentences

check: lint test

format: .venv/.tests-installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Speed, each figure next to a peer or the reference commit: some ten minutes.
bench: .venv/.installed
	$(BIN)/python -m benchmarks.cost
	$(BIN)/python -m benchmarks.bus_load
	$(BIN)/python -m benchmarks.screen
	$(BIN)/python -m benchmarks.service
	$(BIN)/python -m benchmarks.latency

# Completion, man page, JSON schema and reference pages, from the rows in the code.
docs: .venv/.tests-installed
	$(BIN)/python -m docs_build

# Coverage of each room and the tests that docs/quality.md names, then the page. The mutation score is
# measured apart: python -m benchmarks.mutation_score ROOM --record
quality: .venv/.tests-installed
	$(BIN)/python -m docs_build.measure
	$(BIN)/python -m docs_build

# The documentation as a site in build/site; a link that leads nowhere ends the build.
site: docs
	PYTHONPATH=. NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis

# With DESTDIR only the files, for a package that brings the program itself.
install-service:
	install -D -m 644 packaging/60-dronebms.rules $(UDEV_RULES)
	install -D -m 644 packaging/dronebms.sysusers $(SYSUSERS)
	install -D -m 644 packaging/dronebms.modules $(MODULES)
	install -D -m 644 packaging/dronebms.toml $(EXAMPLE)
	sed -i 's|/usr/local/|$(PREFIX)/|' $(EXAMPLE)
	install -D -m 644 packaging/completion/dronebms $(BASH_COMPLETION)
	install -D -m 644 packaging/completion/_dronebms $(ZSH_COMPLETION)
	install -D -m 644 packaging/completion/dronebms.fish $(FISH_COMPLETION)
	install -D -m 644 packaging/dronebms.1 $(MAN_PAGE)
	install -D -m 644 packaging/dronebms.schema.json $(SCHEMA)
	install -d $(UNITS) $(DESTDIR)$(PREFIX)/bin
	ln -sf $(SERVICE_HOME)/bin/dronebms $(DESTDIR)$(PREFIX)/bin/dronebms
	for unit in dronebms dronebms-web; do \
		sed 's|@HOME@|$(SERVICE_HOME)|' packaging/$$unit.service > $(UNITS)/$$unit.service && chmod 644 $(UNITS)/$$unit.service || exit 1; \
	done
ifeq ($(DESTDIR),)
	$(PYTHON) -m venv $(SERVICE_HOME)
	$(SERVICE_HOME)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade '.$(if $(EXTRAS),[$(EXTRAS)])'
	systemd-sysusers
	modprobe i2c-dev || true
	udevadm control --reload && udevadm trigger --subsystem-match=i2c-dev
	systemctl daemon-reload
	@echo "Next: dronebms init (or edit /etc/dronebms.toml), then: systemctl enable --now dronebms"
endif

# A Debian package in dist/, with an environment of its own: make deb ARCH=arm64
ARCH ?= amd64
deb:
	packaging/deb/make_package $(ARCH)

# The packages that `make deb` takes, of the extras that a service may have.
lock: .venv/.installed
	$(BIN)/python packaging/deb/lock mqtt,metrics,web,dronecan

# What is in the package, with versions and licences, as CycloneDX.
sbom: .venv/.tests-installed
	packaging/sbom $(BIN)/cyclonedx-py

# The configuration, recordings and learned parameters stay.
uninstall-service:
ifeq ($(DESTDIR),)
	systemctl disable --now dronebms-web dronebms || true
	rm -rf $(SERVICE_HOME)
endif
	rm -f $(UNITS)/dronebms.service $(UNITS)/dronebms-web.service $(UDEV_RULES) $(SYSUSERS) $(MODULES) \
		$(DESTDIR)$(PREFIX)/bin/dronebms $(BASH_COMPLETION) $(ZSH_COMPLETION) $(FISH_COMPLETION) $(MAN_PAGE) $(EXAMPLE) $(SCHEMA)
ifeq ($(DESTDIR),)
	systemctl daemon-reload
endif

.venv/bin/python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "Python is missing; install it with: sudo apt install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: dronebms needs 3.11; install a newer one and name it: make demo PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing; install it with: sudo apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

# pip shows what it downloads. Python compiles what it runs: compiling all of it would take longer and 30 MB more.
.venv/.installed: pyproject.toml .venv/bin/python
	@echo "Installing dronebms and its six packages into .venv (some 150 MB) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --no-compile --editable .
	@$(BIN)/python -m pip uninstall --quiet --yes setuptools 2>/dev/null || true  # some versions of venv bring it
	@touch $@

.venv/.tests-installed: pyproject.toml .venv/bin/python
	@echo "Installing dronebms and the packages of its tests into .venv (some 600 MB) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --editable '.[test]'
	@touch $@ .venv/.installed
