# Every target sets up .venv itself on a fresh machine with Python 3.11 or later.
PYTHON ?= python3
BIN := .venv/bin
# Modules are compiled when they are imported: most of the libraries' 20,000 modules never are. The bytecode is kept in
# one place, even if the environment says otherwise: else each `kras` would spend three seconds compiling 2,000 modules.
PIP := $(BIN)/python -m pip install --quiet --no-compile
# The versions that the tests run with; `make test CONSTRAINT=` on a clean clone takes the newest that are allowed.
CONSTRAINT ?= --constraint constraints.txt
export PYTHONDONTWRITEBYTECODE :=
export PYTHONPYCACHEPREFIX := $(CURDIR)/build/bytecode
export OMP_NUM_THREADS ?= 2

.PHONY: demo test test-long test-oldest test-newest lint lint-platforms bench bench-gpu chaos fuzz docs notebook pictures dist constraints audit hooks openseadragon experiment train-cells train-vit-mini clean

demo: .venv/.installed
	$(BIN)/kras demo --out kras-demo

# Two workers on two cores: a second thread of each would only wait for its turn and take time from the others.
test: export OMP_NUM_THREADS = 1
test: .venv/.installed-dev
	$(MAKE) --jobs=2 lint .venv-triton/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# What takes minutes and has a shorter test of the same in `make test`: before a release.
test-long: export OMP_NUM_THREADS = 1
test-long: .venv/.installed-dev .venv-triton/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m long

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What macOS and Windows lack and is used unguarded: types are checked as if they were the machine, where the lines
# behind a guard are never reached.
lint-platforms: .venv/.installed-dev
	$(BIN)/mypy --no-warn-unreachable --platform darwin --cache-dir .mypy_cache/darwin
	$(BIN)/mypy --no-warn-unreachable --platform win32 --cache-dir .mypy_cache/win32

# Tests that use each library, with the oldest versions that pyproject.toml allows, and with the newest; each in its own
# .venv-…. UV_CONSTRAINT=FILE keeps uv below versions that a machine cannot have.
USED := dask,dicomweb,notebook,pretrain,remote,risk,service,view
PART ?= tests/cohort tests/files tests/remote tests/slides tests/test_bags.py tests/test_store.py tests/pretraining/test_parts.py \
  $(addprefix tests/plugins/test_,classifiers.py classifier_he.py classifier_lgbm.py backend_local.py \
    backend_local_onnxruntime.py reader_dicomweb.py) \
  tests/models/test_export.py tests/models/test_quantize.py tests/semantics/test_features.py tests/evaluation/test_risk.py \
  tests/learning/test_bundle.py tests/engines/test_dask_engine.py tests/report/test_figures.py tests/report/test_curves.py \
  tests/viewer/test_app.py tests/viewer/test_server.py tests/cli/test_help.py tests/cli/test_doctor.py tests/service/database \
  $(addprefix tests/service/,api/test_cases.py api/test_uploads.py leaving/test_pdf.py leaving/test_dicom_sr.py \
    leaving/test_dicom_map.py leaving/test_fhir.py operations/test_metrics.py)
test-oldest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-oldest test-newest: export OMP_NUM_THREADS = 1
test-oldest test-newest: .venv/.installed-dev
	$(BIN)/uv pip compile --quiet --resolution $(RESOLUTION) $(USED:%=--extra %) --output-file build/$(RESOLUTION).txt pyproject.toml
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) .venv-$(RESOLUTION)
	$(BIN)/uv pip install --quiet --python .venv-$(RESOLUTION) --constraint build/$(RESOLUTION).txt \
	  --editable '.[$(USED)]' pytest pytest-xdist hypothesis httpx httpx2 pypdf fhir.resources
	.venv-$(RESOLUTION)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -o filterwarnings= $(PART)

bench: .venv/.installed-dev .venv-triton/.installed
	$(BIN)/python benchmarks/embed.py
	$(BIN)/python benchmarks/encoders.py
	$(BIN)/python benchmarks/cells.py
	$(BIN)/python benchmarks/semantics.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/evidence.py
	$(BIN)/python benchmarks/mil.py
	$(BIN)/python benchmarks/service.py

# On a machine with an NVIDIA GPU: is it used correctly and well? Ten minutes; figures in build/gpu (docs/how-to/gpu.md).
bench-gpu: .venv/.installed-dev
	$(BIN)/python benchmarks/gpu.py --device cuda --out build/gpu

# Changes inputs of every kind at random, FUZZ of each: one clear error or the exact result; table in build/fuzz.json.
# Killed, it goes on where it was. Then GUIDED seconds a parser with bytes that reach new lines of it (atheris).
fuzz: export OMP_NUM_THREADS = 1
fuzz: .venv/.installed-dev
	$(BIN)/python -m campaigns.fuzz --cases $(or $(FUZZ),300) --seed $(or $(SEED),0)
	$(PIP) --editable '.[fuzz]'
	for one in json cells table cohort folds maf settings; do \
	  $(BIN)/python -m campaigns.fuzz.guided $$one $(or $(GUIDED),60) || exit 1; done

# Disturbs commands, their workers, disks, stores and Triton servers CHAOS times at random, as many Dask workers, and as many
# workers of a service on SQLite and on PostgreSQL: nothing may be lost, duplicated or left behind. An interrupted run
# resumes; build/*chaos*.json has the counts (docs/reliability.md).
chaos: .venv/.installed-dev .venv-triton/.installed
	KRAS_CHAOS=$(or $(CHAOS),200) $(BIN)/python -m pytest -s tests/service/test_kills.py \
	  tests/engines/test_chaos.py tests/test_chaos.py

# The site, in build/docs; a warning, such as a broken link, is an error.
docs: .venv/.installed-dev
	$(BIN)/python -m sphinx -b html -d build/docs-cache -W --keep-going -q docs build/docs

# The outputs of the tutorial's notebook, and the pictures of README and docs (it needs Chromium): look at both after it.
notebook: .venv/.installed-dev
	$(BIN)/python docs/tutorial/execute.py

pictures: .venv/.installed-dev
	$(BIN)/python docs/pictures/make.py

# The real experiment on ../shared/data/tcga: tables of docs/experiments/tcga-hif.md; an interrupted run resumes.
experiment: .venv/.installed-dev
	$(BIN)/python -m experiments.tcga_hif

# Retrains the network of profiler `cells` on ../shared/data/nuclei; an interrupted run resumes from its last checkpoint.
train-cells: .venv/.installed-dev
	OMP_WAIT_POLICY=passive $(BIN)/python -m training.cells

# Retrains the encoder `vit-mini` on free images of ../shared/data and measures it; an interrupted run resumes.
train-vit-mini: .venv/.installed-dev
	PATH=$(BIN):$$PATH sh training/vit_mini.sh

# The image viewer of `kras view`, unchanged from npm (docs/decisions/0019).
openseadragon: STATIC := $(CURDIR)/kras_plugins/viewer/static
openseadragon:
	cd $$(mktemp -d) && npm pack --silent openseadragon@6 && tar xzf openseadragon-*.tgz && cd package \
	  && cp build/openseadragon/openseadragon.min.js $(STATIC)/ && cp LICENSE.txt $(STATIC)/openseadragon.LICENSE.txt
	cd $(STATIC) && chmod 644 openseadragon.* \
	  && sha256sum openseadragon.min.js openseadragon.LICENSE.txt > openseadragon.sha256

# Wheel and sdist, in dist/, and in build/ what an environment of the wheel consists of. KRAS_REPOSITORY=https://… is the
# address that the links of the package index lead to.
dist: .venv/.installed-dev
	rm -rf dist build/clean build/*.cdx.json && $(BIN)/python -m hatchling build -d dist
	$(BIN)/uv venv --quiet build/clean
	$(BIN)/python -m pip --python build/clean/bin/python install --quiet --no-compile $(CONSTRAINT) \
	  "$$(echo dist/*.whl)[$(USED)]"
	$(BIN)/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --mc-type application \
	  --output-file build/$$(basename dist/*.whl -py3-none-any.whl).cdx.json build/clean/bin/python

# Writes down the versions that .venv holds: after `make test CONSTRAINT=` on a clean clone.
constraints: .venv/.installed-dev
	{ sed '/^[^#]/d' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

# Known vulnerabilities of the versions that the tests ran with, and of the oldest that are allowed; asks the package index.
audit: .venv/.installed-dev
	$(BIN)/uv pip compile --quiet --resolution lowest-direct $(USED:%=--extra %) --output-file build/lowest-direct.txt pyproject.toml
	for versions in constraints.txt build/lowest-direct.txt; do \
	  $(BIN)/uv tool run pip-audit --strict --requirement $$versions --no-deps --disable-pip || exit 1; done

# Lint on each commit.
hooks: .venv/.installed-dev
	$(PIP) pre-commit
	$(BIN)/pre-commit install

.venv/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	touch $@

.venv/.installed: .venv/.made pyproject.toml constraints.txt
	$(PIP) $(CONSTRAINT) --editable '.[view]'
	touch $@

.venv/.installed-dev: .venv/.made pyproject.toml constraints.txt
	$(PIP) $(CONSTRAINT) --editable '.[dev]'
	touch .venv/.installed $@

# A Triton server with an engine for this CPU, in an environment of its own, as kras needs a newer numpy.
.venv-triton/.installed: .venv/.installed-dev
	$(BIN)/kras model serve --install
	touch $@

clean:
	rm -rf .venv .venv-triton kras-demo kras-out build dist
