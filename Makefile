# Two commands do everything: `make run` serves the page, `make test` runs every test.
# `make test-kernels` runs what computes once more, with the kernels of an old processor and one thread.
PYTHON ?= python3
VENV   ?= .venv
PORT   ?= 5006
ARGS   ?=
BIN    := $(VENV)/bin
SHOW   := $(shell if [ "$$(uname)" = Darwin ] || [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ]; then echo --show; fi)
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: run test test-kernels check bench format clean

run: $(VENV)/.run
	$(BIN)/python -m bokeh serve dashboard $(SHOW) --port $(PORT) $(if $(ARGS),--args $(ARGS))

test: $(VENV)/.test
	$(BIN)/python tests/get_chromium.py
	$(BIN)/python -m pytest $(ARGS)

# What rounding may tell on; the rest is the same on every processor, and slow with old kernels.
NUMERIC := $(patsubst %,tests/test_%.py,ascent_pieces attribution_cam attribution_gradients attribution_modules \
	attribution_volumes deconvolution evaluation_metrics evaluation_removal folded head_kinds head_values incremental \
	network_layers network_passes network_refusals occlusion prediction_difference relu)

test-kernels: $(VENV)/.test
	ONEDNN_MAX_CPU_ISA=SSE41 ATEN_CPU_CAPABILITY=default OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -m "not browser" $(NUMERIC) $(ARGS)

check: $(VENV)/.check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.check
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.bench
	$(BIN)/python tests/get_chromium.py
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"vislib needs Python 3.11 or newer, this is {sys.version.split()[0]}: name a newer one, for example make run PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# One stamp a set of extras, so that a second `make` starts at once; a change of the lists installs anew.
$(VENV)/.run: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing into $(VENV): PyTorch alone is large, the first time takes some minutes."
	$(PIP) -e .
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing into $(VENV): PyTorch alone is large, the first time takes some minutes."
	$(PIP) -e '.[test]'
	@touch $@

$(VENV)/.check: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e '.[check]'
	@touch $@

$(VENV)/.bench: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e '.[test,bench]'
	@touch $@
