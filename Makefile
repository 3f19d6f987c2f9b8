# The commands of this project. `make run PORT=9000 ALPHA=0.5`: any setting without its prefix.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt

# Settings go on by the environment and not by a command line, which a shell would read and everybody on the machine may.
GIVEN := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
$(foreach name,$(filter-out PYTHON VENV SAMPLE PACKAGE,$(GIVEN)),$(eval export MOBILENET_$(name) := $$(value $(name))))

CLIENTS := build/clients
DISTIL := build/distil
MUTANTS := build/mutants

# A file that the parts of `make test` add to; the last one lists what was skipped in all of them.
SKIPPED := build/skipped.json
# Where slow tests are. Each of the processes that run them reads all tests otherwise: 6 seconds of CPU, and 20 in a new
# environment.
SLOW = $(sort $(shell grep --recursive --files-with-matches --extended-regexp 'mark\.(tensorflow|e2e)' \
	--include 'test_*.py' --exclude-dir e2e tests)) tests/e2e
# These fork their own process, which fails once OpenVINO has run in it, as other tests have it do (decision 31).
FORKING := tests/server/test_supervisor.py tests/server/test_template.py
CONTAINER := tests/e2e/test_container.py
# A process that replaces one that crashed may wait for tests for ever (xdist 3.8). Without it the run ends and names the
# test that crashed.
BY_FILES := --dist loadfile --max-worker-restart 0
# In this order, as the few tests of the long files would come last otherwise. One process runs all that import TensorFlow.
SIDE_BY_SIDE := --numprocesses 3 $(BY_FILES) --no-loadscope-reorder --together 'tests/(?!cli|documents|e2e)'

# Else every process of the tests translates TensorFlow and all other packages again, which takes most of its seconds.
test test-fast test-container test-slow test-distil test-nodes: export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test test-fast test-container test-slow test-distil test-nodes mutants lint format lock proto bench bench-quick

run: $(VENV)/installed
	@$(BIN)/mobilenet serve

# The linters, the fast tests and the container, whose tests wait more than they compute, side by side; then what takes
# minutes. At the end, what was skipped and how to get it.
test: $(VENV)/installed-for-tests
	rm -f $(SKIPPED)
	$(MAKE) --jobs 3 --output-sync --keep-going lint test-fast test-container; first=$$?; $(MAKE) test-slow && exit $$first

test-fast: $(VENV)/installed-for-tests
	$(BIN)/pytest -p no:schemathesis $(FORKING); forking=$$?; \
	$(BIN)/pytest -p no:schemathesis --numprocesses 4 $(BY_FILES) --ignore tests/e2e $(FORKING:%=--ignore=%) \
		-m "not tensorflow and not e2e" --skipped=$(SKIPPED) && exit $$forking

# It has temporary files of its own: two runs that end together both remove those of older runs, and one of them fails.
test-container: $(VENV)/installed-for-tests
	mkdir -p build
	$(BIN)/pytest -p no:schemathesis $(CONTAINER) --basetemp build/container --skipped=$(SKIPPED)

test-slow: $(CLIENTS)/triton/installed $(CLIENTS)/openapi/installed
	$(BIN)/pytest $(SLOW) --ignore $(CONTAINER) $(SIDE_BY_SIDE) -m "tensorflow or e2e" --skipped=$(SKIPPED)

# The tests of what trains in PyTorch. They need no GPU.
test-distil: $(DISTIL)/installed
	KERAS_BACKEND=torch $(DISTIL)/bin/pytest tests/tools/distillation/test_distil.py tests/tools/experiments

# A node of Ray is killed in the middle of a job: three of them take a minute to start.
test-nodes: $(VENV)/installed-for-tests
	TEST_NODES=1 $(BIN)/pytest tests/e2e/test_batch_cluster.py

# How many small faults the fast tests notice, hours for all of them: `make mutants SAMPLE=100 PACKAGE=imaging`.
mutants: $(MUTANTS)/installed
	PYTHONPATH=$(MUTANTS)/packages nice -n 19 $(BIN)/python -m tools.mutants \
		$(if $(SAMPLE),--sample $(SAMPLE)) $(if $(PACKAGE),--package $(PACKAGE))

lint: $(VENV)/installed-for-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/installed-for-tests
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# The service beside others, each in an environment of its own below build/bench: hours of the whole machine.
bench: $(VENV)/installed-for-tests
	$(BIN)/python -m tools.bench

# The same in ten minutes, beside the fastest of the others. The photos of the mix are not everybody's.
bench-quick: MIX := $(wildcard ../shared/data/imagenet/samples)
bench-quick: $(VENV)/installed-for-tests
	$(if $(MIX),,@echo "mix is left out, as its photos are absent: ../shared/data/imagenet/samples")
	$(BIN)/python -m tools.bench --only "service, float32" --only mosec --only "bare loop, float32" \
		$(if $(MIX),--photos mix) --photos small --connections 1 --connections 32 --rounds 5 --seconds 5 --steps 0

# Newest versions within the ranges of pyproject.toml, for every supported Python.
lock: $(VENV)/installed-for-tests
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --upgrade \
		--no-emit-index-url --no-header --output-file constraints.txt pyproject.toml

# What Python has of the messages of gRPC.
proto: $(VENV)/installed-for-tests
	$(BIN)/python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. app/oip/grpc/inference.proto

# uv installs in two thirds of the time that pip takes.
$(VENV)/bin/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt uv

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/uv
	$(INSTALL) --editable '.[tensorflow]'
	touch $@

$(VENV)/installed-for-tests: pyproject.toml constraints.txt | $(VENV)/bin/uv
	$(INSTALL) --editable '.[tensorflow,train,otel,parquet,ray,grpc,openvino,test]'
	touch $(VENV)/installed $@

# A client that the tests ask the service with, apart from the service: `make build/clients/kserve/installed` is another.
$(CLIENTS)/%/installed: tests/e2e/clients/%.txt | $(VENV)/installed-for-tests
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	$(BIN)/uv pip install --quiet --python $(@D)/bin/python --requirement $<
	touch $@

# PyTorch is gigabytes, and does not run beside TensorFlow.
$(DISTIL)/installed: pyproject.toml constraints.txt | $(VENV)/installed-for-tests
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	$(BIN)/uv pip install --quiet --python $(@D)/bin/python --constraint constraints.txt --editable '.[distil,test]'
	touch $@

# Beside the packages of the tests, and not in the lock of the service.
$(MUTANTS)/installed: tools/mutants/requirements.txt | $(VENV)/installed-for-tests
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target $(MUTANTS)/packages --requirement $<
	touch $@
