# On a fresh machine, `make demo` and `make test` do everything, set-up included. All they make is below .venv/.

PYTHON ?= python3
PIP = pip install --quiet --disable-pip-version-check
# environments are set up two at a time
MAKEFLAGS += --jobs=2

.PHONY: demo test lint bench clean system

demo: .venv/demo.installed
	.venv/bin/python examples/listen.py demo

# one thread a process of PyTorch and BLAS, since there are two processes
test: export OMP_NUM_THREADS = 1
test: system .venv/dev.installed .venv/datasets-4.0/installed .venv/datasets-3.6/installed
	.venv/datasets-3.6/bin/python -m pytest -W default tests/loading_scripts
	.venv/datasets-4.0/bin/python -m pytest --numprocesses 2 --dist loadfile -W default tests/curation tests/dataset tests/export/test_datasets.py tests/export/test_package.py tests/export/test_preview.py tests/mixing/test_origins.py tests/prepared/test_store.py tests/rendering/test_batch.py tests/training/test_table.py
	.venv/bin/python -m pytest --numprocesses 2 --dist loadfile

lint: .venv/dev.installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: .venv/dev.installed
	.venv/bin/python -m benchmarks

clean:
	rm -rf .venv demo build *.egg-info

# Tests look at pages in Chromium, torchcodec decodes with the libraries of ffmpeg, and zip makes archives in parts. Without
# them, and without the means to install them, those tests are skipped.
system:
	@{ command -v chromium || command -v google-chrome; } >/dev/null && command -v ffmpeg >/dev/null && command -v zip >/dev/null || \
	{ apt-get -qq update && apt-get -qq install -y chromium ffmpeg zip >/dev/null; } || \
	echo 'Chromium, ffmpeg or zip is not installed: the tests that need them are skipped'

# first, since environments that are made at the same time would else both make it, and one of them fail
.venv:
	mkdir -p $@

.venv/demo.installed: setup.cfg | .venv
	$(PYTHON) -m venv .venv
	.venv/bin/$(PIP) -e '.[plot]'
	touch $@

# torch is pinned: an open range would take a build with several GB of CUDA libraries
.venv/dev.installed: setup.cfg | .venv
	$(PYTHON) -m venv .venv
	.venv/bin/$(PIP) torch==2.13.0 -e '.[bench,browse,dev,evaluate,fast,fetch,http,openai,plot,s3,sherpa,torch,train,transformers,video]'
	touch $@

.venv/datasets-%/installed: setup.cfg | .venv
	$(PYTHON) -m venv .venv/datasets-$*
	.venv/datasets-$*/bin/$(PIP) 'datasets==$*.0' hypothesis pytest pytest-xdist -e $(if $(filter 4.0,$*),'.[plot]',.)
	touch $@
