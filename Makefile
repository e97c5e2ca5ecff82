# `make quickstart` and `make test` do everything on a machine that has Python >= 3.10: the first one
# creates .venv and installs requirements.txt into it, later ones reuse it while that file is unchanged.
# Another interpreter: make PYTHON=/path/to/python3.12 ...     Arguments: make test ARGS='-k motion'
PYTHON ?= python3
ARGS ?=
RUN := .venv/bin/python

.PHONY: help env quickstart test fuzz lint clean

help:
	@echo 'make quickstart   render sample videos, train, test, score and draw (about 10 minutes on 2 cores)'
	@echo 'make test         the whole test suite; one part: make test ARGS=tests/test_evaluation'
	@echo 'make fuzz         read 10,000 damaged files; again the same: make fuzz ARGS="--seed 7"'
	@echo 'make lint         ruff check'
	@echo 'make env          only create or update .venv'
	@echo 'make clean        remove caches; keeps .venv, data/ and work_dirs/'

env:
	@command -v $(PYTHON) >/dev/null || { echo 'make: $(PYTHON) was not found. Install Python 3.10 or newer with its venv module (Debian, Ubuntu: sudo apt install python3 python3-venv) and run make again.'; exit 1; }
	@$(PYTHON) tools/make_venv.py

quickstart: env
	@$(RUN) tools/quickstart.py $(ARGS)

test: env
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

fuzz: env
	@$(RUN) tests/test_core/fuzzing.py $(ARGS)

lint: env
	@$(RUN) -m ruff check .

clean:
	rm -rf .pytest_cache .ruff_cache build dist *.egg-info
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
