# The whole project in a few words. `make course` and `make test` need nothing else by hand.
PYTHON ?= python3
BIN := .venv/bin
# Threads wait awake for microseconds, then sleep: never slow, quiet machine or busy.
export GOMP_SPINCOUNT ?= 10000
READY := .venv/.ready

.DEFAULT_GOAL := course
.PHONY: course lab test coverage smoke lint bench gpu docs tables notebooks clean

course: $(READY)  ## run the lessons (laptop profile), check the baselines, write runs/laptop/index.html
	$(BIN)/seg-lib course --profile laptop

lab: $(READY)  ## open JupyterLab on the lessons
	$(BIN)/jupyter lab --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

# So many lessons, then processes of tests, at once; one needs up to 4 GB.
WORKERS ?= 2
test: lint smoke $(READY)  ## style, every lesson in its smallest size, and the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

READERS := archives cases check_data checkpoints contours deidentify deidentify_structure \
  deidentify_tagger dicom download manifests nifti \
  nnunet_layout notes pickles presidio real_samples slices submission volume_formats
coverage: $(READY)  ## branches of all that reads what others wrote: below 95 % is a failure
	mkdir -p runs
	$(BIN)/coverage run -m pytest $(READERS:%=tests/test_%.py)
	$(BIN)/coverage report

smoke: $(READY)
	$(BIN)/seg-lib course --profile smoke --jobs $(WORKERS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/seg-lib course --check

bench: $(READY)  ## beside the peers; DATA=DIR, PANCREAS=DIR, NNUNET=PYTHON add what needs them
	$(BIN)/python benchmarks/run_all.py $(if $(DATA),--data $(DATA)) \
	  $(if $(PANCREAS),--pancreas $(PANCREAS)) $(if $(NNUNET),--nnunet $(NNUNET))

gpu: $(READY)  ## the lessons at the sizes of the sources; "not checked" without CUDA
	$(BIN)/seg-lib course --profile gpu $(if $(ONLY),--only $(ONLY))

docs: $(READY)  ## the course as pages that open from a disk: runs/site/index.html
	rm -rf runs/site
	$(BIN)/seg-lib course --site runs/site

tables: $(READY)  ## write the tables of README.md anew from the measured results
	$(BIN)/python benchmarks/readme_tables.py

notebooks: course  ## publish the executed lessons and figures of the last laptop run
	$(BIN)/seg-lib course --profile laptop --publish

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 course"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "The module venv is missing: sudo apt install python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf runs .pytest_cache .ruff_cache
