# Two commands matter: `make demo` and `make test`. Each works on a fresh clone with Python 3.11+ and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench fuzz differential soak docs proto wheels compiled clean

help:  ## Show what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# One stamp a set of extras; rebuilt when the dependencies change.
$(VENV)/.%: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing remora-mesh[$*] into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@

demo: $(VENV)/.demo  ## Run a whole mesh on this machine (ONCE=1: tell the story once and stop)
	@$(BIN)/python -m demo $(if $(ONCE),--once)

test: $(VENV)/.test  ## Run the tests: real etcd, sidecars, apps and peers
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.lint $(VENV)/.test  ## ruff, mypy --strict, the layer rule
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.bench  ## Compare with Envoy and others on this machine, into bench/RESULTS.md (ARGS="--quick")
	@$(BIN)/python -m bench $(ARGS)

fuzz: $(VENV)/.fuzz  ## Fuzz the codecs (ARGS="--seconds 300 --target hpack")
	@$(BIN)/python -m fuzz $(ARGS)

differential: $(VENV)/.test  ## Same bytes or (ARGS="--policies --minutes 10") same policies to sidecar and Envoy: what came out?
	@$(BIN)/python -m tests.differential $(ARGS)

soak: $(VENV)/.soak  ## Load of all kinds and trouble for half an hour (ARGS="--minutes 5 --seed 1")
	@$(BIN)/python -m soak $(ARGS)

wheels: $(VENV)/.test  ## Build the wheels into dist/: plain Python, and compiled for this Python (takes a C compiler)
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@HATCH_BUILD_HOOK_ENABLE_CUSTOM=true $(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

compiled: $(VENV)/.test  ## Compile the wheel, and run the tests of what is compiled with it (takes a C compiler)
	@$(BIN)/python -m tests.compiled $(ARGS)

docs: $(VENV)/.demo  ## Write docs/policy.md and docs/flags.md anew, from the code
	@$(BIN)/python docs/build.py

proto: $(VENV)/.proto  ## Generate the protobuf and gRPC code again
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpclib_python_out=. \
		$$(git ls-files '*.proto' | grep '^remora/')

clean:  ## Remove what was built
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
