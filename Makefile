# On a fresh machine with Python 3.11 or newer:
#   make serve   starts the service on port 3000, with the bundles that ship (installs no torch)
#   make test    installs everything, runs the test suite
#   make bench   measures the tables of docs/performance.md on this machine (needs wrk and a C compiler)
#   make gpu-check   checks service and trainer on this machine's NVIDIA GPU, in less than three minutes
#   make soak    runs the long fault and load tests, for hours (some need nginx, HAProxy and PostgreSQL)
#   make lock    writes the hashes of the image's packages, after a change of constraints.txt
#   make audit   asks PyPI for known vulnerabilities of the image's packages
#   make install installs what training, tests and lint need, and runs nothing
# PORT=, HOST= and every FIGMENT_… variable pass through.

PYTHON ?= python3
HOST ?= 0.0.0.0
PORT ?= 3000

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
ONNXRUNTIME := $(shell nvidia-smi --list-gpus >/dev/null 2>&1 && echo gpu || echo cpu)

# Each port has its own BENTOML_HOME: two servers that share one delete each other's metrics.
export BENTOML_HOME ?= $(CURDIR)/.bentoml/$(PORT)
export BENTOML_DO_NOT_TRACK ?= True

.PHONY: serve test install lint format bench gpu-check soak lock audit clean

# At a keyboard no load balancer has to learn of the end: Ctrl-C does not linger.
# A relative FIGMENT_MODELS is relative to the shell's folder. With make -C, that is not make's folder.
serve: .venv/serving
	@case "$(PORT)" in \
		""|*[!0-9]*) echo "figment: PORT must be a number in 1 … 65535, not '$(PORT)'." >&2; exit 1;; \
	esac
	@mkdir -p "$(BENTOML_HOME)"
	@case "$$FIGMENT_MODELS" in \
		""|/*|*://*) ;; \
		*) export FIGMENT_MODELS="$(or $(PWD),$(CURDIR))/$$FIGMENT_MODELS";; \
	esac; \
	export FIGMENT_LINGER_SECONDS="$${FIGMENT_LINGER_SECONDS:-0}"; \
	exec $(BIN)/bentoml serve . --host "$(HOST)" --port "$(PORT)"

install: .venv/everything

test: .venv/everything
	$(BIN)/python -m pytest tests --numprocesses logical --maxprocesses 4 --dist loadscope

lint: .venv/everything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/everything
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# BENCH="serving --smoke" runs only the serving benchmark, in seconds, to check that it works.
bench: .venv/everything
	$(BIN)/python -m benchmarks $(BENCH)

# GPU_CHECK="--only driver,images" runs some of the checks; --help lists them.
gpu-check: .venv/everything
	$(BIN)/python -m benchmarks.gpu $(GPU_CHECK)

# SOAK="--only fuzz --smoke" runs some of the tests, in seconds; --help lists them.
soak: .venv/everything
	$(BIN)/python -m benchmarks.soak $(SOAK)

# The tools have an environment of their own: what they need must not decide what is locked or audited.
TOOLS := .venv-tools/bin

lock: .venv-tools/made
	@for device in cpu gpu remote; do \
		lock=serving/lock-$$device.txt; \
		echo "# Every package of serving/requirements-$$device.txt, with the hashes of its files. Made by \`make lock\` from constraints.txt; do not edit." >$$lock.new; \
		$(TOOLS)/uv pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11 \
			--python-platform x86_64-manylinux_2_28 -c constraints.txt serving/requirements-$$device.txt >>$$lock.new \
			&& mv $$lock.new $$lock || exit 1; \
	done

# --strict: without it, a package about which nothing could be learned counts as one without vulnerabilities.
# serving/audit.toml explains the findings that do not concern the service.
audit: .venv-tools/made
	@explained=$$($(PYTHON) deploy/audit.py) || exit 1; \
	for device in cpu gpu remote; do \
		$(TOOLS)/pip-audit --strict --disable-pip --no-deps $$explained -r serving/lock-$$device.txt || exit 1; \
	done

.venv-tools/made:
	$(PYTHON) -m venv .venv-tools
	$(TOOLS)/pip install --quiet --disable-pip-version-check -c constraints.txt uv pip-audit
	@touch $@

clean:
	rm -rf .venv .venv-tools .bentoml

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Figment needs Python 3.11 or newer; name one with PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/serving: .venv/python constraints.txt serving/requirements.txt serving/requirements-$(ONNXRUNTIME).txt
	$(PIP) -r serving/requirements-$(ONNXRUNTIME).txt
	@touch $@

.venv/everything: .venv/serving training/requirements.txt tests/requirements.txt
	$(PIP) -r training/requirements.txt -r tests/requirements.txt
	@touch $@
