# The commands to know: make demo, make test, make lab. Everything they do is `poselab`, nbdev or pytest.
PYTHON ?=
TORCH  ?= cpu
VENV   ?= .venv
INPUT  ?=

BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PIP    := $(BIN)/python -m pip --disable-pip-version-check
QUIET  := OMP_NUM_THREADS=1 MPLBACKEND=agg POSELAB_NO_APP=1
OLD    := 'import sys; sys.exit(not (3,10) <= sys.version_info[:2] <= (3,12))'

.PHONY: help setup demo test lab check bench docs export clean constraints hooks

help:    ## what each command does
	@sed -n 's/^\([a-z]*\): .*## /make \1	/p' Makefile | expand -t 20
	@echo 'make demo INPUT=path    your own image folder, video, or COCO annotation file'
	@echo 'make setup TORCH=cu130  torch for an NVIDIA card (default: cpu); PYTHON=python3.12 picks a Python'

setup: $(READY)  ## install everything into .venv (once)

demo: $(READY)   ## the whole path on rendered dancers, or on INPUT=path
	@$(BIN)/poselab demo $(if $(INPUT),"$(INPUT)")

lab: $(READY)    ## JupyterLab on the tour
	$(BIN)/jupyter lab nbs/00_tour.ipynb

test: $(READY)   ## all tests: notebooks, then tests/, then the ones that drive a browser
	$(QUIET) $(BIN)/nbdev_test --n_workers 2
	$(QUIET) $(BIN)/pytest -n 2 -rs -m 'not browser'
	$(QUIET) $(BIN)/pytest -rs -m browser

check: export test  ## export, notebooks, tests, clean, in-sync
	$(BIN)/nbdev_clean
	@test -z "$$(git status --porcelain nbs poselab)" || { git status --short nbs poselab; echo 'Commit these: notebooks and their modules go together.'; exit 1; }

export: $(READY) ## write poselab/ from the notebooks
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean

bench: $(READY)  ## time poselab beside its peers and write tests/bench/README.md
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench

docs: $(READY)   ## the site: pages, course, reference, cards; open _docs/index.html
	$(QUIET) $(BIN)/python -c 'from poselab.site import main; main()'

clean:           ## remove the environment, the outputs and the caches
	rm -rf $(VENV) runs build dist *.egg-info .pytest_cache .hypothesis _docs _proc

hooks: $(READY)  ## let git clean and merge notebooks by itself (writes to this clone's .git)
	$(BIN)/nbdev_install_hooks

constraints: $(READY)  ## resolve constraints.txt again
	@{ echo '# Exact versions that install and work together: Python 3.10-3.12 on Linux and macOS. Made by `make constraints`.'; \
	   echo '# Left out: nvidia-*, cuda-*, triton. The CPU build of torch needs none; a CUDA build names the exact ones it belongs to.'; \
	   $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.10 --all-extras -q --no-header --no-annotate \
	   | grep -vE '^(nvidia-|cuda-|triton)'; } > constraints.new && mv constraints.new constraints.txt

# uv knows where the CPU build of torch lives and is quick. Where that place is out of reach, pip takes the same versions
# from the index it is set up with. rfc3987-syntax builds 38 grammars at each `import jsonschema`: without it every
# notebook starts twice as fast, and nothing here checks internationalised addresses.
$(READY): pyproject.toml constraints.txt
	@py='$(PYTHON)'; \
	for p in $${py:-python3 python3.12 python3.11 python3.10 python}; do \
	  if $$p -c $(OLD) 2>/dev/null; then py=$$p; break; fi; py=; done; \
	if [ -z "$$py" ]; then \
	  echo "poselab needs Python 3.10, 3.11 or 3.12, and found: $$($(or $(PYTHON),python3) --version 2>&1)."; \
	  echo 'Install one, then name it: make setup PYTHON=python3.12'; exit 1; fi; \
	echo "poselab: setting up $(VENV) with $$($$py --version), a few minutes once"; \
	$$py -m venv $(VENV)
	@$(PIP) install -q -c constraints.txt uv
	@$(BIN)/uv pip install --python $(BIN)/python --torch-backend $(TORCH) -c constraints.txt -e '.[all]' || { \
	  echo 'uv did not get through: pip takes over, three to ten quiet minutes.'; \
	  $(PIP) install -q -c constraints.txt -e '.[all]'; }
	@$(PIP) uninstall -q -y rfc3987-syntax
	@$(PIP) check
	@touch $(READY)
