# `make demo` shows the product; `make test` checks everything. Both install what they need first.

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3
WORKERS ?= 3
HELM ?= v3.19.0

.PHONY: demo observe test check unit install chart-tools constraints clean

demo: install            ## Train, start a broker and a worker, replay users the model never saw.
	$(BIN)/innerloop demo

observe: install         ## The demo, watched by Prometheus (the command prometheus), until Ctrl-C.
	$(BIN)/innerloop observe

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

chart-tools: $(BIN)/helm $(VENV)/kubernetes-models/.installed ## What tests of the chart need, or skip: Go and Node build it.

$(BIN)/helm:
	GOBIN=$(abspath $(BIN)) go install -trimpath -ldflags='-s -w' helm.sh/helm/v3/cmd/helm@$(HELM)

# Schemas of resources that are not Kubernetes' own.
$(VENV)/kubernetes-models/.installed:
	npm install --silent --no-audit --no-fund --ignore-scripts --prefix $(dir $@) \
	  @kubernetes-models/keda@2.0.0 @kubernetes-models/prometheus-operator@6.0.0
	touch $@

audit: install           ## Bill of materials, secrets, known vulnerabilities (asks PyPI).
	mkdir -p build
	$(BIN)/cyclonedx-py requirements constraints.txt --pyproject pyproject.toml --of JSON --sv 1.6 \
	  --validate --output-reproducible -o build/innerloop-sbom.json
	git ls-files -z -- . ':!tests' ':!*.png' ':!*.gz' | xargs -0 $(BIN)/detect-secrets-hook
	$(BIN)/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r constraints.txt

constraints: install     ## Pin the newest versions that fit pyproject.toml (then run the tests).
	$(BIN)/uv pip compile --quiet --upgrade pyproject.toml --extra demo --extra dev --universal \
	  --python-version 3.11 --no-header --no-annotate --no-emit-index-url -o constraints.txt
	echo "uv==$$($(BIN)/uv --version | cut -d' ' -f2)" >> constraints.txt

clean:
	rm -rf $(VENV) .innerloop
