# Gatebench: `make` alone prints this help.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= results/latest

# A variable that has a value becomes GATEBENCH_… for the command; its option is declared in gatebench/cli.
OPTIONS := PROFILE RUNNER BUDGET SERVERS APPS WORKLOADS SEED OUT EXCLUSIVE SERVER_CORES WORKERS THREADS ENGINES \
	LOAD_WORKERS LOAD_BIND NETWORK SERVER_HOST CLAIMS LOCUST_OPTION RUN A B INTERFACE ROUTE SERVER PORT \
	PACKAGE HOMEPAGE SUPPORTS SERVERS_DIR APPS_DIR WORKLOADS_DIR STRICT PRECISION APP APP_DIR REQUIREMENTS \
	PATHS VARIES APP_ENV
VARIABLES := $(OPTIONS) NAME COMMAND PYTHON
COMMANDS := bench smoke verify list new-server compose calibrate report compare bundle resume reproduce \
	explain serve ui notebook
$(foreach name,$(OPTIONS),$(if $($(name)),$(eval $(COMMANDS): export GATEBENCH_$(name) = $$($(name)))))

# A name that is none would be taken for nothing, and every server measured.
given = $(foreach name,$(filter-out -%,$(.VARIABLES)),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
unknown := $(filter-out $(VARIABLES) VENV BIN SHELL MAKEFLAGS,$(given))
$(if $(unknown),$(error there is no variable $(unknown); there are $(VARIABLES)))
# One that the command does not take is refused by it; of several commands each may take others.
$(if $(word 2,$(MAKECMDGOALS)),,$(eval export GATEBENCH_GIVEN := $(foreach name,$(filter $(OPTIONS),$(given)),$(if $($(name)),$(name)))))
singular := $(if $(SERVER),$(if $(filter bench smoke verify,$(MAKECMDGOALS)),$(filter SERVER,$(given))))
$(if $(singular),$(error SERVER is for serve, ui and explain; SERVERS chooses those of a run))

.PHONY: help $(COMMANDS) test test-fast check bench-engine bench-report lock clean

help: ## print this help
	@printf 'Gatebench compares Python'"'"'s WSGI and ASGI servers.\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nVariables, as in: make bench BUDGET=5m SERVERS="gunicorn-* uvicorn" OUT=results/demo\n'
	@printf '  %s\n' '$(VARIABLES)'

bench: $(VENV)/.lab ## measure every server (PROFILE=standard, about 14 minutes) and report on it
	@$(BIN)/gatebench run

smoke: $(VENV)/.lab ## measure every server under the main workloads in under two minutes: does it all work here?
	@$(BIN)/gatebench run --profile smoke

verify: $(VENV)/.lab ## check every server against the whole contract
	@$(BIN)/gatebench verify

list: $(VENV)/.lab ## list subjects, applications, workloads and profiles
	@$(BIN)/gatebench list

new-server: export GATEBENCH_SERVERS_DIR = $(firstword $(SERVERS_DIR))
new-server: $(VENV)/.lab ## write the folder of a server of your own (NAME= INTERFACE= HOMEPAGE= COMMAND=)
	@$(BIN)/gatebench new-server "$$NAME" -- "$$COMMAND"

compose: $(VENV)/.lab ## generate docker-compose.yml from the server folders
	@$(BIN)/gatebench compose

calibrate: $(VENV)/.lab ## measure what the load engine can do on this machine, by transport and size
	@$(BIN)/gatebench calibrate

report: $(VENV)/.lab ## draw the report again from raw data (RUN=results/latest)
	@$(BIN)/gatebench report

compare: $(VENV)/.lab ## compare two runs (A=results/one B=results/other)
	@test -n "$$GATEBENCH_A" -a -n "$$GATEBENCH_B" || { echo 'name two runs: make compare A=results/one B=results/other' >&2; exit 2; }
	@$(BIN)/gatebench compare

bundle: $(VENV)/.lab ## pack a run into one file to share (RUN=results/latest)
	@$(BIN)/gatebench bundle

resume: $(VENV)/.lab ## resume a run that ended early (RUN=results/latest)
	@$(BIN)/gatebench resume

reproduce: $(VENV)/.lab ## measure a run or a bundle again and report what holds here (RUN=file.gatebench.zip)
	@$(BIN)/gatebench reproduce

explain: $(VENV)/.lab ## show one live request step by step (INTERFACE=asgi SERVER=uvicorn ROUTE=/ws/echo)
	@$(BIN)/gatebench explain

notebook: $(VENV)/.notebook ## open the notebooks on a run (RUN=results/latest)
	@$(BIN)/jupyter lab analysis/notebooks

serve: $(VENV)/.lab ## run one subject in the foreground (SERVER=uvicorn PORT=8000)
	@test -n "$$GATEBENCH_SERVER" || { echo 'name a subject: make serve SERVER=uvicorn (make list shows them)' >&2; exit 2; }
	@$(BIN)/gatebench serve

ui: $(VENV)/.lab ## run one subject with Locust's web UI in front (SERVER=uvicorn PORT=8000)
	@test -n "$$GATEBENCH_SERVER" || { echo 'name a subject: make ui SERVER=uvicorn (make list shows them)' >&2; exit 2; }
	@$(BIN)/gatebench ui

# Side by side, two of those that mostly wait. Those of an engine are not: each start of the lab removes what
# killed runs left there, and some of them kill one. Those that measure in real time have the machine to themselves.
UNIT_TESTS = $(BIN)/pytest --numprocesses auto --dist worksteal tests/unit
WAITING_TESTS = $(BIN)/pytest --numprocesses 2 --dist loadfile -m 'not alone' tests/real tests/browser
OTHER_TESTS = $(BIN)/pytest -m 'alone or docker' tests/real tests/docker

test: $(VENV)/.dev ## run every test
	@status=0; $(UNIT_TESTS) || status=1; $(WAITING_TESTS) || status=1; $(OTHER_TESTS) || status=1; exit $$status

test-fast: $(VENV)/.dev ## run the tests that start no servers
	@$(UNIT_TESTS)

check: $(VENV)/.dev ## run ruff, the strict type checker and the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench-engine: $(VENV)/.dev ## compare the load engine with wrk, h2load, ab, picows and Locust's own client
	@$(BIN)/python -m tools.bench_engine

bench-report: $(VENV)/.dev ## time the report of 1,000 cells and 200,000 slices
	@$(BIN)/python -m tests.support.bench_report

lock: $(VENV)/.lab ## pin every requirement anew, with hashes and without index addresses
	@sh requirements/lock.sh

clean: ## remove environments, images, caches and the lab's own virtual environment; results stay
	@images=$$(docker image ls --quiet --filter reference='gatebench/*' 2>/dev/null | sort -u) && \
		test -z "$$images" || docker image rm --force $$images >/dev/null || true
	rm -rf $(VENV) .gatebench .import_linter_cache .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The lab's own environment: uv first, from a pinned and hashed file, then everything else through it.
$(VENV)/.uv: requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Gatebench needs Python 3.11 or newer: make PYTHON=python3.13 ..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "cannot make a virtual environment; on Debian: sudo apt-get install python3-venv" >&2; exit 2; }
	@echo "installing uv" && $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes --requirement requirements/bootstrap.txt || \
		{ echo "the package index could not be reached, or refused; check the network and run make again" >&2; exit 2; }
	@touch $@

$(VENV)/.lab: $(VENV)/.uv requirements/lab.txt pyproject.toml
	@echo "installing the lab" && $(BIN)/uv pip install --quiet --python $(BIN)/python \
		--require-hashes --requirement requirements/lab.txt && \
		$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . || \
		{ echo "the lab could not be installed; check the network and run make again" >&2; exit 2; }
	@touch $@

$(VENV)/.notebook: $(VENV)/.lab requirements/notebook.txt
	@echo "installing JupyterLab" && $(BIN)/uv pip install --quiet --python $(BIN)/python \
		--require-hashes --requirement requirements/notebook.txt || \
		{ echo "JupyterLab could not be installed; check the network and run make again" >&2; exit 2; }
	@touch $@

$(VENV)/.dev: $(VENV)/.lab requirements/dev.txt
	@echo "installing what the tests need" && $(BIN)/uv pip install --quiet --python $(BIN)/python \
		--require-hashes --requirement requirements/dev.txt || \
		{ echo "the tests' packages could not be installed; check the network and run make again" >&2; exit 2; }
	@touch $@
