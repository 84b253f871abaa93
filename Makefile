# Thin: everything is in bootstrap.py, which also runs where make is missing.
PYTHON ?= python3
ARGS ?=

.PHONY: demo test test-interop check test-train bench setup lock tables

demo test test-interop check test-train bench setup:
	@$(PYTHON) bootstrap.py $@ -- $(ARGS)

lock: setup
	@.venv/bin/python deploy/lock.py $(if $(UPGRADE),--upgrade)

tables: setup
	@.venv/bin/python -m deploy.reference_tables
