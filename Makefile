# Bootstraps the environment; the work is doit's (see dodo.py).
PYTHON ?= python3.11
VENV := .venv
DONE := $(VENV)/.installed
# waiting threads must not spin: on few cores they stall everything else
export OMP_WAIT_POLICY := passive

.PHONY: run test
run: $(DONE)
	$(VENV)/bin/python -m doit main

test: $(DONE)
	$(VENV)/bin/python -m doit test

$(DONE): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not installed; install Python 3.11 or run make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --editable ".[tools,onnx]"
	touch $@
