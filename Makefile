# Everything from a bare clone: needs Python 3.11 or newer, make, and a package index for pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Plain pins of every package, direct or not; refreshed by `make pins`.
PINS := requirements.txt
CONFIG ?= $(if $(OPENAI_API_KEY),configs/gateway.openai.yaml,configs/gateway.yaml)
# Extras that `make test` installs on top, for example TEST_EXTRAS=sentence-transformers.
TEST_EXTRAS ?=
# How long `make soak` runs.
SECONDS ?= 300
# Which clients `make clients` installs; all of tests/clients/environments.py where none is named.
CLIENTS ?=
comma := ,

.PHONY: help install run test check reference format pins bench bench-quick clients peers soak artifact audit sbom clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## Make .venv with everything to serve and to train

run: $(VENV)/.installed-serve ## Serve on 127.0.0.1:8080 (CONFIG=FILE; simulated models unless OPENAI_API_KEY is set)
	$(BIN)/steelyard serve --config $(CONFIG)

test: $(VENV)/.installed-dev ## Run the whole test suite, on every core
ifneq ($(TEST_EXTRAS),)
	$(BIN)/pip install --quiet --no-compile --constraint $(PINS) --editable '.[$(TEST_EXTRAS)]'
endif
	$(BIN)/pytest --numprocesses auto --dist worksteal

check: $(VENV)/.installed-dev ## Lint, types, import contracts, configuration files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	for file in configs/gateway*.yaml; do $(BIN)/steelyard check-config --no-env $$file || exit 1; done

reference: $(VENV)/.installed-dev ## Write docs/reference and configs/schema anew from the fields
	$(BIN)/steelyard config-reference --write

format: $(VENV)/.installed-dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev ## Measure decision, gateway, peers (make peers) and growth; 40 minutes
	$(BIN)/python -m loadtest.bench_decision
	$(BIN)/python -m loadtest.bench_gateway
	$(BIN)/python -m loadtest.bench_scale

bench-quick: $(VENV)/.installed-dev ## What a request costs against the last committed result; 2 minutes
	$(BIN)/python -m loadtest.bench_gateway --quick

clients: $(VENV)/.installed-dev ## Install real clients into var/clients, so that their tests run (CLIENTS="NAME ...")
	$(BIN)/python -m tests.clients.environments $(CLIENTS)

peers: $(VENV)/.installed-dev ## Install the gateways to compare with into var/peers
	$(BIN)/python -m loadtest.peers

soak: $(VENV)/.installed-dev ## Mixed traffic with faults on two workers and Redis (SECONDS=300)
	$(BIN)/python -m loadtest.soak --seconds $(SECONDS) --json var/soak.json

artifact: $(VENV)/.installed-dev ## Train all that is shipped anew (public data: STEELYARD_DATA_DIR); some minutes
	$(BIN)/python scripts/train_difficulty_block.py
	$(BIN)/python scripts/train_request_model.py
	$(BIN)/python scripts/train_outlook_block.py
	$(BIN)/steelyard prior --out routers/pretrained/default --overwrite
	$(BIN)/python scripts/everyday_benchmark.py --write

audit: $(VENV)/.installed-audit ## Look the pinned packages up in the advisories (STRICT=1: fail where it cannot)
	$(BIN)/python scripts/audit.py $(if $(STRICT),--strict) $(PINS)

sbom: $(VENV)/.installed-audit ## Write var/sbom.json: what is pinned, as CycloneDX
	mkdir -p var
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application \
	  --output-reproducible --of JSON --output-file var/sbom.json $(PINS)

pins: ## Write requirements.txt anew from what the ranges of pyproject.toml give today
	rm -rf var/pins && $(PYTHON) -m venv var/pins
	var/pins/bin/pip install --quiet --editable '.[audit,dev,train,sentence-transformers]'
	# PyTorch is pinned by the extra itself; what it brings along depends on the platform.
	echo '# Plain pins of everything that pyproject.toml brings; written by `make pins`.' > $(PINS)
	var/pins/bin/pip freeze --exclude-editable \
	  | sed -E '/^(torch|triton|nvidia-|cuda-)/d; s/==([^+]*)[+].*/==\1/' >> $(PINS)
	rm -rf var/pins

clean: ## Remove the environment and everything generated
	rm -rf $(VENV) var *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

# Half the size of what training needs besides; whoever has that has this.
$(VENV)/.installed-serve: pyproject.toml $(PINS) | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --no-compile --constraint $(PINS) --editable .
	touch $@

$(VENV)/.installed: pyproject.toml $(PINS) | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --no-compile --constraint $(PINS) --editable '.[train]'
	touch $@ $(VENV)/.installed-serve

$(VENV)/.installed-dev: pyproject.toml $(PINS) | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --no-compile --constraint $(PINS) --editable '.[train,dev]'
	touch $@ $(VENV)/.installed $(VENV)/.installed-serve

$(VENV)/.installed-audit: pyproject.toml $(PINS) | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --no-compile --constraint $(PINS) --editable '.[train,audit]'
	touch $@ $(VENV)/.installed $(VENV)/.installed-serve
