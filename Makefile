# Gatebench: `make` alone prints this help.
# Variables: PROFILE RUNNER BUDGET SERVERS APPS WORKLOADS SEED OUT EXCLUSIVE=1 SERVER_CORES WORKERS THREADS ENGINES LOAD_WORKERS LOAD_BIND NETWORK SERVER_HOST CLAIMS LOCUST_OPTION RUN A B INTERFACE ROUTE SERVER PORT NAME PACKAGE HOMEPAGE SUPPORTS COMMAND SERVERS_DIR APPS_DIR WORKLOADS_DIR PYTHON
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROFILE ?= standard
RUN ?= results/latest
PORT ?= 8000

run_options = $(if $(RUNNER),--runner '$(RUNNER)') $(if $(BUDGET),--budget '$(BUDGET)') \
	$(if $(SERVERS),--servers '$(SERVERS)') $(if $(APPS),--apps '$(APPS)') \
	$(if $(WORKLOADS),--workloads '$(WORKLOADS)') $(if $(SEED),--seed '$(SEED)') \
	$(if $(OUT),--out '$(OUT)') $(if $(EXCLUSIVE),--exclusive) \
	$(if $(SERVER_CORES),--server-cores '$(SERVER_CORES)') $(if $(WORKERS),--workers '$(WORKERS)') \
	$(if $(THREADS),--threads '$(THREADS)') \
	$(if $(ENGINES),--engines '$(ENGINES)') $(if $(LOAD_WORKERS),--load-workers '$(LOAD_WORKERS)') \
	$(if $(LOAD_BIND),--load-bind '$(LOAD_BIND)') $(if $(NETWORK),--network '$(NETWORK)') \
	$(if $(SERVER_HOST),--server-host '$(SERVER_HOST)') $(foreach file,$(CLAIMS),--claims '$(file)') \
	$(foreach option,$(LOCUST_OPTION),--locust-option '$(option)') \
	$(foreach dir,$(SERVERS_DIR),--servers-dir '$(dir)') $(foreach dir,$(APPS_DIR),--apps-dir '$(dir)') \
	$(foreach dir,$(WORKLOADS_DIR),--workloads-dir '$(dir)')
check_options = $(if $(RUNNER),--runner '$(RUNNER)') $(if $(WORKERS),--workers '$(WORKERS)') $(if $(SERVERS),--servers '$(SERVERS)') $(if $(APPS),--apps '$(APPS)') \
	$(foreach dir,$(SERVERS_DIR),--servers-dir '$(dir)') $(foreach dir,$(APPS_DIR),--apps-dir '$(dir)')
serve_options = $(if $(APPS),--apps '$(APPS)') $(foreach dir,$(SERVERS_DIR),--servers-dir '$(dir)') \
	$(foreach dir,$(APPS_DIR),--apps-dir '$(dir)')
list_options = $(foreach dir,$(SERVERS_DIR),--servers-dir '$(dir)') $(foreach dir,$(APPS_DIR),--apps-dir '$(dir)') \
	$(foreach dir,$(WORKLOADS_DIR),--workloads-dir '$(dir)')

.PHONY: help bench smoke verify list new-server compose calibrate report notebook compare bundle resume reproduce explain ui serve test test-fast check bench-engine bench-report lock clean

help: ## print this help
	@printf 'Gatebench compares Python'"'"'s WSGI and ASGI servers.\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nVariables, as in: make bench BUDGET=5m SERVERS="gunicorn-* uvicorn" OUT=results/demo\n'
	@sed -n 's/^# Variables: /  /p' $(MAKEFILE_LIST)

bench: $(VENV)/.lab ## measure every server (PROFILE=standard, about 14 minutes) and report on it
	@$(BIN)/gatebench run --profile '$(PROFILE)' $(run_options)

smoke: $(VENV)/.lab ## every server under the main workloads, under two minutes: does it all work here?
	@$(BIN)/gatebench run --profile smoke $(run_options)

verify: $(VENV)/.lab ## hold every server to the whole contract
	@$(BIN)/gatebench verify $(check_options)

list: $(VENV)/.lab ## list subjects, applications, workloads and profiles
	@$(BIN)/gatebench list $(list_options)

new-server: $(VENV)/.lab ## write the folder of a server of your own (NAME= INTERFACE= HOMEPAGE= COMMAND=)
	@$(BIN)/gatebench new-server '$(NAME)' --interface '$(INTERFACE)' --homepage '$(HOMEPAGE)' \
		$(foreach package,$(PACKAGE),--package '$(package)') $(if $(SUPPORTS),--supports '$(SUPPORTS)') \
		$(if $(SERVERS_DIR),--dir '$(firstword $(SERVERS_DIR))') -- "$$COMMAND"

compose: $(VENV)/.lab ## generate docker-compose.yml from the server folders
	@$(BIN)/gatebench compose

calibrate: $(VENV)/.lab ## what the load engine can do on this machine, by transport and size
	@$(BIN)/gatebench calibrate $(if $(RUNNER),--runner '$(RUNNER)') $(if $(ENGINES),--engines '$(ENGINES)')

report: $(VENV)/.lab ## draw the report again from raw data (RUN=results/latest)
	@$(BIN)/gatebench report '$(RUN)' $(foreach file,$(CLAIMS),--claims '$(file)')

compare: $(VENV)/.lab ## compare two runs (A=results/one B=results/other)
	@test -n '$(A)' -a -n '$(B)' || { echo 'name two runs: make compare A=results/one B=results/other' >&2; exit 2; }
	@$(BIN)/gatebench compare '$(A)' '$(B)'

bundle: $(VENV)/.lab ## pack a run into one file to give away (RUN=results/latest)
	@$(BIN)/gatebench bundle '$(RUN)' $(if $(OUT),--out '$(OUT)')

resume: $(VENV)/.lab ## go on with a run that ended early (RUN=results/latest)
	@$(BIN)/gatebench resume '$(RUN)' $(if $(LOAD_BIND),--load-bind '$(LOAD_BIND)')

reproduce: $(VENV)/.lab ## run a run or a bundle again and tell what holds here (RUN=file.gatebench.zip)
	@$(BIN)/gatebench reproduce '$(RUN)' $(if $(RUNNER),--runner '$(RUNNER)') $(if $(BUDGET),--budget '$(BUDGET)') $(if $(OUT),--out '$(OUT)')

explain: $(VENV)/.lab ## one live request step by step (INTERFACE=asgi SERVER=uvicorn ROUTE=/ws/echo)
	@$(BIN)/gatebench explain '$(or $(INTERFACE),wsgi)' $(if $(SERVER),'$(SERVER)') $(if $(ROUTE),--path '$(ROUTE)') \
		$(foreach dir,$(SERVERS_DIR),--servers-dir '$(dir)')

notebook: $(VENV)/.notebook ## open the notebooks on a run (RUN=results/latest)
	@GATEBENCH_RUN='$(abspath $(RUN))' $(BIN)/jupyter lab analysis/notebooks

serve: $(VENV)/.lab ## run one subject in the foreground (SERVER=uvicorn PORT=8000)
	@test -n '$(SERVER)' || { echo 'name a subject: make serve SERVER=uvicorn (make list shows them)' >&2; exit 2; }
	@$(BIN)/gatebench serve '$(SERVER)' --port '$(PORT)' $(serve_options)

ui: $(VENV)/.lab ## run one subject with Locust's web UI in front (SERVER=uvicorn PORT=8000)
	@test -n '$(SERVER)' || { echo 'name a subject: make ui SERVER=uvicorn (make list shows them)' >&2; exit 2; }
	@$(BIN)/gatebench ui '$(SERVER)' --port '$(PORT)' $(serve_options)

# Side by side; what measures in real time needs the cores for itself.
UNIT_TESTS = $(BIN)/pytest --numprocesses auto --dist worksteal -m 'not real and not docker and not browser'

test: $(VENV)/.dev ## run every test
	@$(UNIT_TESTS)
	@$(BIN)/pytest -m 'real or docker or browser'

test-fast: $(VENV)/.dev ## run the tests that start no servers
	@$(UNIT_TESTS)

check: $(VENV)/.dev ## ruff, the strict type checker, and who may import whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench-engine: $(VENV)/.dev ## compare the load engine with wrk, h2load, ab, picows and Locust's own client
	@$(BIN)/python -m tools.bench_engine

bench-report: $(VENV)/.dev ## how long the report of 1,000 cells and 200,000 slices takes
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
