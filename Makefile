# `make demo` shows the product; `make test` checks everything. Both install what they need first.

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3
WORKERS ?= 3
HELM ?= v3.19.0

.PHONY: demo test check unit install helm constraints clean

demo: install            ## Train, start a broker and a worker, replay users the model never saw.
	$(BIN)/innerloop demo

test: check unit         ## Everything that CI runs.

check: install           ## Formatting, lint and strict types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Files go whole to one process each of WORKERS; one thread each, else they take each other's cores.
unit: export OMP_NUM_THREADS ?= 1
unit: install            ## The tests. Those on Apache Kafka need Java 17+ and Maven, or KAFKA_BOOTSTRAP.
	$(BIN)/pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

install: $(VENV)/.installed

# uv resolves and downloads in parallel; the environment is an ordinary virtual environment.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "innerloop needs Python 3.11 or newer; set PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[demo,dev]'
	touch $@

helm: $(BIN)/helm        ## Helm, for the tests of the chart, which skip without it. Needs Go.

$(BIN)/helm:
	GOBIN=$(abspath $(BIN)) go install -trimpath -ldflags='-s -w' helm.sh/helm/v3/cmd/helm@$(HELM)

constraints: install     ## Pin the newest versions that fit pyproject.toml (then run the tests).
	$(BIN)/uv pip compile --quiet --upgrade pyproject.toml --extra demo --extra dev --universal \
	  --python-version 3.11 --no-header --no-annotate --no-emit-index-url -o constraints.txt
	echo "uv==$$($(BIN)/uv --version | cut -d' ' -f2)" >> constraints.txt

clean:
	rm -rf $(VENV) .innerloop
