# make demo   the app on http://localhost:7860 (PORT=8000 make demo for another port)
# make space  a folder to push to a Hugging Face Space (FOLDER=build/space)
# make soak   half an hour of the app with eight visitors and one fault a minute
# make browser  the demo that runs in the visitor's browser, for any static host (FOLDER=build/browser)
# make formats  every annotation format with the other tools' own code, both ways
# make test   all tests, two files at a time (JOBS=2);   make check   format, lint, types;   make dev   what both need
PYTHON ?= python3
PORT ?= 7860
JOBS ?= 2
FOLDER ?= build/space
BIN := .venv/bin

.PHONY: demo space browser dev test check soak formats

demo: .venv/installed
	PORT=$(PORT) $(BIN)/python app.py

space: .venv/installed
	scripts/make-space $(FOLDER)

browser: .venv/installed-dev
	$(BIN)/python -m demo.static_page $(if $(filter command line,$(origin FOLDER)),$(FOLDER),build/browser)

dev: .venv/installed-dev
	@scripts/install-test-tools

# Each file's tests stay together, in the files' order; a core each for JOBS processes.
test: dev
	OMP_NUM_THREADS=1 MGM_REQUIRE_POSTGRES=1 $(BIN)/python -m pytest \
		-n $(JOBS) --dist loadfile --no-loadscope-reorder

formats: .venv/installed-dev
	scripts/try-formats $(KEEP)

soak: .venv/installed-dev
	$(BIN)/python -m benchmark_data_tools load --visitors 8 --minutes 30 --faults --keep-minutes 1

check: .venv/installed-dev
	scripts/check

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: PYTHON=python3.12 make demo" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt requirements.lock | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements.txt -c requirements.lock
	$(BIN)/python -m mgm_core.engines.compile
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements-dev.txt -c requirements.lock
	touch $@
