# make demo                    trains and tests ADM on the built-in phantom
# make demo DATA=path/to/brats the same on real scans
# make test                    runs the tests
# make test-fast               the same without those that take long
# make test-portable           numerical tests, as on an older processor
# make test-lowest             contract and numerical tests, with the lowest scikit-learn
# make check                   formatting, lint, types, layers
# make docs                    builds the documentation, runs every example: docs/_build/html
# make release-check           builds wheel and sdist, tries the wheel in an empty environment

PYTHON ?= python3
VENV   ?= .venv
DATA   ?= phantom
OUT    ?= out
SEED   ?= 0
PRESET ?= cpu

BIN := $(VENV)/bin
SOURCES := skadm tests benchmarks examples docs .ci
LOWEST := $(shell sed -n 's/^ *scikit-learn>=//p' setup.cfg)

# Kept between runs, whatever the environment says: every process of Python that a test
# starts would compile the package again, every worker all tests.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test test-fast test-portable test-lowest check format docs release-check clean

demo: $(VENV)/demo.stamp
	$(BIN)/skadm demo --data "$(DATA)" --out "$(OUT)" --seed $(SEED) --preset $(PRESET) --force

test: $(VENV)/dev.stamp
	# One thread for each worker: two workers with two threads each would wait for each other.
	# loadfile: the tests of a file share what its fixtures compute. Files stay in the order
	# of conftest.py, the longest first.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile \
		--no-loadscope-reorder --durations=25

test-fast: $(VENV)/dev.stamp
	# Without clusters, browsers, other processes, trainings from end to end, and what else
	# takes more than a third of a second.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile \
		--no-loadscope-reorder -m "not slow"

test-portable: $(VENV)/dev.stamp
	# What rests on the kernels of the processor, as on an older one without bfloat16, and as
	# on one without vector instructions, with bfloat16 chosen and computed in software. The
	# latter leaves out the checks of scikit-learn, which take long.
	ONEDNN_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell OMP_NUM_THREADS=1 \
		ATEN_CPU_CAPABILITY=avx2 $(BIN)/python -m pytest -q -n auto \
		--dist loadfile -m numerical --bfloat16 no
	ONEDNN_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell OMP_NUM_THREADS=1 \
		ATEN_CPU_CAPABILITY=default $(BIN)/python -m pytest -q -n auto \
		--dist loadfile -m numerical -k "not estimator_checks" --bfloat16 yes

test-lowest: $(VENV)/dev.stamp $(VENV)/lowest.stamp
	# The contract of detectors that are quick to train, and numerical tests.
	PYTHONPATH=$(VENV)/lowest $(BIN)/python -c \
		"import sklearn; assert sklearn.__version__ == '$(LOWEST)', sklearn.__version__"
	PYTHONPATH=$(VENV)/lowest OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto \
		tests/test_contract.py tests/test_density.py tests/test_filters.py \
		tests/test_metrics.py -k "not process and not twin and not estimator_checks \
		and (Intensity or PCA or DAE or density or filters or metrics)"

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

docs: $(VENV)/docs.stamp
	# A warning is an error: a broken link, an example that fails, a docstring that misleads.
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html

release-check: $(VENV)/dev.stamp
	$(BIN)/python .ci/check_release.py

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(BIN)/python setup.cfg constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[plot,progress]'
	touch $@

$(VENV)/dev.stamp: $(BIN)/python setup.cfg constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)/lowest.stamp: $(BIN)/python setup.cfg
	# In a folder of its own, which comes first on the path of that run alone.
	rm -rf $(VENV)/lowest
	$(BIN)/python -m pip install -q --no-deps --target $(VENV)/lowest scikit-learn==$(LOWEST)
	touch $@

$(VENV)/docs.stamp: $(BIN)/python setup.cfg constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .*_cache docs/_build docs/auto_examples docs/generated
	find $(SOURCES) -name __pycache__ -prune -exec rm -rf {} +
