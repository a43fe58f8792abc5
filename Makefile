# One command each: `make run` and `make test` work on a fresh machine with Python 3.11.2 to 3.13.
# The newest interpreter that really starts wins (a version manager's shim may exist and refuse).
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c 'import sys; assert (3, 11, 2) <= sys.version_info < (3, 14)' >/dev/null 2>&1 && echo $$p && break; done)
BIN := .venv/bin

.PHONY: run demo test test-real test-real-quick torture fuzz setup lint types house steps format bench schema manifests lock audit sbom dist clean

run: .venv/run.stamp
	$(BIN)/auditsink serve

test: .venv/dev.stamp
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --cov --cov-report=term --cov-fail-under=90

# Against servers of other makers (tests/real), fetched or built into .real/; what cannot be had is skipped with the reason.
# AUDITSINK_REAL=all builds those too that take a quarter of an hour (Loki, kube-apiserver).
test-real: .venv/dev.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[browser]'
	AUDITSINK_REAL=$${AUDITSINK_REAL:-1} $(BIN)/python -m pytest tests/real

# Those of them whose servers are there within a minute: a few minutes with an empty .real/.
test-real-quick: .venv/dev.stamp
	AUDITSINK_REAL=1 $(BIN)/python -m pytest -m quick tests/real

# The long forms of tests/crash (see docs/what-a-200-means.md) and of a topic as the spool (docs/scale.md), some hour and a
# half, with a line for each kind at the end; as root they include real disks, power cuts and a network that drops a broker.
torture: .venv/dev.stamp
	AUDITSINK_TORTURE=1 AUDITSINK_REAL=$${AUDITSINK_REAL:-1} $(BIN)/python -m pytest tests/crash tests/real/test_real_kafka_spool_long.py

# Ten minutes (AUDITSINK_FUZZ_SECONDS) of hostile input for every parser, and a table of what was tried; see SECURITY.md.
fuzz: .venv/dev.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(BIN)/python tests/fuzz/long_form.py

# A Splunk that is busy, an event that it refuses, and what a sink makes of them; a few seconds, in a temporary directory.
# make demo KEEP=1 leaves it running, with the page to look at.
demo: .venv/run.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all,testing]'
	$(BIN)/python -m auditsink.testing.demo $(if $(KEEP),--keep) tests/data/batch-default-mixed-http.tar.gz

setup: .venv/run.stamp

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory types

# Each conftest.py below tests/ is a module of the same name, so one run can see one of them.
types: .venv/dev.stamp
	$(BIN)/mypy
	for file in tests/*/conftest.py; do $(BIN)/mypy $$file || exit 1; done

# What the tree looks like from above: files, circles, names with several meanings (tests/house.py).
house: .venv/dev.stamp
	$(BIN)/python tests/house.py

# How many calls and files of ours a request passes from its first byte to its answer (tests/steps.py).
steps: .venv/dev.stamp
	$(BIN)/python tests/steps.py

# A few minutes; see benchmarks/README.md. Options: make bench BENCH='--full --peer fluent-bit=/usr/bin/fluent-bit'
bench: .venv/run.stamp
	$(BIN)/python -m benchmarks $(BENCH)

# What goes into the image, by version and hash; again after a change of the dependencies in pyproject.toml.
LOCK := $(BIN)/uv pip compile --generate-hashes --universal --python-version 3.11.2 --no-emit-index-url --custom-compile-command "make lock" --quiet
lock: .venv/tools.stamp
	$(LOCK) --upgrade --extra all pyproject.toml --output-file requirements.lock
	$(LOCK) --upgrade requirements-build.in --output-file requirements-build.lock

# Known weaknesses in what is locked; asks PyPI.
audit: .venv/tools.stamp
	$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements.lock

# A CycloneDX list of what is locked.
sbom: .venv/tools.stamp
	@mkdir -p build
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --mc-type application --output-reproducible -o build/auditsink.cdx.json

# The wheel and the source in dist/, and on Debian and its like the package for this release of it, with a systemd unit,
# manual pages and shell completions. Dated by the commit: the same commit and locks are the same bytes.
dist: export SOURCE_DATE_EPOCH := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || date +%s))
dist: .venv/run.stamp .venv/tools.stamp
	rm -rf dist build/pages
	@mkdir -p dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python config/debian/pages.py build/pages
	if command -v dpkg >/dev/null; then config/debian/build.sh dist/*.tar.gz dist/*.whl build/pages dist; fi

.venv/tools.stamp: | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build click-man cyclonedx-bom pip-audit uv
	@touch $@

# What editors know of the file, and the chart of its values; again after a change of a key.
schema: .venv/run.stamp
	$(BIN)/auditsink schema > config/auditsink.schema.json
	$(BIN)/python config/kubernetes/values_schema.py

# The plain manifests out of the chart, and the chart's README out of its values; needs helm and helm-docs.
manifests:
	helm-docs --chart-search-root config/kubernetes/chart --sort-values-order file
	for set in shoot seed; do helm template auditsink config/kubernetes/chart --kube-version 1.36 --namespace audit \
		--skip-tests --values config/kubernetes/chart/values-$$set.yaml > config/kubernetes/$$set/auditsink.yaml || exit 1; done

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "auditsink needs Python 3.11.2 to 3.13; none was found. Install one, or: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/run.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]'
	@touch $@

.venv/dev.stamp: pyproject.toml .venv/run.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* build dist *.egg-info
