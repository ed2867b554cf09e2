# Two commands on a fresh machine: `make demo` and `make test`. Both make .venv first; nothing is installed outside of it.

ifndef PYTHON
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
endif
ifeq ($(PYTHON),)
$(error no Python 3.11 or later was found; name one: make PYTHON=/path/to/python3.12)
endif

BIN := .venv/bin
READY := .venv/.ready
# Native code is linked by the system's C compiler, or by PyPI's ziglang where there is none.
EXTRAS := $(if $(shell command -v cc || command -v gcc || command -v clang),dev,dev$(shell echo ,)linker)
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --durations 5

.PHONY: demo test test-avx2 test-all lint models fuzz clean

demo: $(READY) # compile a real model, check it, race it against onnxruntime (under 3 minutes)
	@$(BIN)/python -m benchmarks.demo

test: lint # lint, types, the fast tests, the wheel through the sdist (about 12 minutes on two cores)
	$(PYTEST) -m "not slow"

test-avx2: $(READY) # the tests of native code on an AVX-512 machine as if it had AVX2 alone
	OPTC_MCPU=x86-64-v3 $(PYTEST) -m "not slow" tests/targets

test-all: lint # the same with the slow suites
	$(PYTEST)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

models: $(READY) # the table of real models: error, compile and load seconds, memory, speed
	@$(BIN)/python -m benchmarks.models

fuzz: $(READY) # 20,000 random graphs through all exact passes, against onnxruntime; goes on where it was stopped
	@$(BIN)/python -m benchmarks.fuzz

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
