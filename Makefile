# `make book` runs every notebook and builds the book; `make test` runs the tests. Each does its own set-up.
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help book study truth test experiment pretraining processors tuning lab clean lock lint

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NUMBERED := $(notdir $(basename $(sort $(wildcard notebooks/exp*.ipynb))))
# Two notebooks at a time, unless another number was asked for: much of a notebook's time uses one core.
MAKEFLAGS += -j2
# Every notebook is a page. Experiments come first, so that the pages that read their runs wait less, and of them
# the longest, so that none is left running alone at the end.
LONGEST := exp00 exp10 exp13 exp17 exp11 exp06 exp16 exp15 exp09 exp14 exp07
EXPERIMENTS := $(foreach name,$(LONGEST),$(filter $(name),$(NUMBERED))) $(filter-out $(LONGEST),$(NUMBERED))
EXECUTED := $(EXPERIMENTS:%=book/log/%.ipynb) \
  $(filter-out $(EXPERIMENTS:%=book/log/%.ipynb),$(patsubst notebooks/%,book/log/%,$(sort $(wildcard notebooks/*.ipynb))))
LIBRARY := $(shell find wusu_lib -name '*.py' -o -name 'page.*' -o -path '*/pretrained/*')
PAGES := _config.yml _toc.yml $(shell find book -path book/log -prune -o -type f -print) $(wildcard params/*.yaml)

help: ## List the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

book: _build/html/index.html ## Run every notebook at demo scale, build the book, print its path
	@echo "The book: $(CURDIR)/_build/html/index.html"

test: $(READY) ## Run the tests
	$(BIN)/python -m pytest

experiment: $(READY) ## Copy an experiment: make experiment N=18 FROM=05
	@$(BIN)/python -m wusu_lib.experiment.notebooks "$(N)" "$(FROM)"

ARITHMETICS := WUSU_DEMO_THREADS=1 WUSU_DEMO_THREADS=2 ONEDNN_MAX_CPU_ISA=AVX2,ATEN_CPU_CAPABILITY=avx2
processors: $(READY) ## Record how far exp01 and exp07 go apart under other arithmetics (an hour)
	set -e; for setting in $(ARITHMETICS); do \
	  env $$(echo "$$setting" | tr , ' ') $(BIN)/python -m wusu_lib.pages.published processors exp01 exp07; done

tuning: $(READY) ## Try the demo's settings on a city that no experiment uses, and record (40 minutes)
	WUSU_RUNS="$(CURDIR)/runs_tuning" $(BIN)/python -m wusu_lib.pages.published tuning

CITIES := 10
FURTHER := 3
truth: $(READY) ## Judge the demo's models on ten fresh cities and record how often verdicts were right (hours)
	$(BIN)/python -m wusu_lib.pages.published truth $(CITIES) $(FURTHER)

pretraining: $(READY) ## Pre-train the miniatures anew on made worlds (40 minutes; the results are in the repository)
	OMP_NUM_THREADS=1 $(BIN)/python -m wusu_lib.training.pretraining make

lab: $(READY) ## Open JupyterLab on the notebooks
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks

lint: $(READY) ## Check style and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

clean: ## Undo what the other commands made here, but keep runs/, which may have cost days
	rm -rf $(VENV) book/log _build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

lock: $(READY) ## Write constraints.txt from the present environment
	{ grep '^#' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable \
	  | grep -viE '^(nvidia|cuda|triton|#)|@'; } > constraints.new && mv constraints.new constraints.txt

# The environment. A pyenv shim can stand on the PATH and still start nothing, so each candidate is tried.
$(READY): pyproject.toml constraints.txt
	@set -e; python=; if [ ! -x $(BIN)/python ]; then \
	  for candidate in python3.12 python3.13 python3 \
	      "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python; do \
	    if "$$candidate" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then \
	      python="$$candidate"; break; fi; done; \
	  if [ -z "$$python" ]; then \
	    echo "No Python 3.12 or newer with venv was found: install one (python.org, pyenv or conda)" \
	         "and run make again." >&2; exit 1; fi; \
	  echo "Making $(VENV) with $$("$$python" --version)"; "$$python" -m venv $(VENV); fi
	@echo "Installing the pinned packages (about 7 GB on disk with torch's CUDA build)"
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet \
	  -c constraints.txt -e ".[test]"
	@touch $@

# One notebook: executed into a temporary file, so that a failed run never stands in the book.
# $(call execute,papermill's further arguments,settings of the environment)
define execute
	@mkdir -p $(@D)
	@echo "$*: running, two notebooks at a time"
	@begun=$$(date +%s); draft=$(@D)/.$*; \
	$(2) $(BIN)/papermill $< $$draft.part.ipynb --cwd notebooks --kernel python3 --no-progress-bar $(1) \
	  > $$draft.txt 2>&1 \
	  || { cat $$draft.txt >&2; mv $$draft.part.ipynb $(@D)/$*.failed.ipynb; \
	       echo "$< failed; as far as it came it is in $(@D)/$*.failed.ipynb" >&2; exit 1; }; \
	mv $$draft.part.ipynb $@; rm -f $(@D)/$*.failed.ipynb; \
	echo "$*: done in $$(( $$(date +%s) - begun )) s"
endef
book/log/%.ipynb: notebooks/%.ipynb $(LIBRARY) | $(READY)
	$(call execute)

# The overview reads the records that the experiments left behind. Stage 2 uses runs of stage 1: it would train what
# is missing, but only once, so it may as well wait.
book/log/results.ipynb: $(EXPERIMENTS:%=book/log/%.ipynb)
book/log/exp15.ipynb: | book/log/exp06.ipynb
book/log/map_change.ipynb: | book/log/finding.ipynb
book/log/averages.ipynb: | book/log/exp05.ipynb

# The experiments at length, with runs of their own: make study, or make study STUDY=full DATA=/data/OpenWUSU512
STUDY := study
DATA :=
STUDIED := runs_$(STUDY)/log
OVERLAY = params/$(STUDY).yaml
AT_LENGTH = -f $(OVERLAY) $(if $(DATA),-p data_root $(DATA))
OF_STUDY := WUSU_RUNS="$(CURDIR)/runs_$(STUDY)"
study: $(EXPERIMENTS:%=$(STUDIED)/%.ipynb) $(STUDIED)/results.ipynb ## Run the experiments at length and publish them (9 hours)
	$(OF_STUDY) $(BIN)/python -m wusu_lib.pages.published publish $(STUDY) $(STUDIED) $(DATA)
$(STUDIED)/%.ipynb: notebooks/%.ipynb params/$(STUDY).yaml $(LIBRARY) | $(READY)
	$(call execute,$(if $(filter results,$*),-p overlay $(STUDY) -p data_root "$(DATA)",$(AT_LENGTH)),$(OF_STUDY))
# The per-pixel floor trains nothing and takes nothing that is about training.
$(STUDIED)/exp00.ipynb: OVERLAY = $(STUDIED)/floor.yaml
$(STUDIED)/exp00.ipynb: $(STUDIED)/floor.yaml
$(STUDIED)/floor.yaml: params/$(STUDY).yaml
	@mkdir -p $(@D)
	@grep -E '^(scale|city|seeds):' $< > $@
$(STUDIED)/results.ipynb: $(EXPERIMENTS:%=$(STUDIED)/%.ipynb)
$(STUDIED)/exp15.ipynb: | $(STUDIED)/exp06.ipynb

_build/html/index.html: $(EXECUTED) $(PAGES) | $(READY)
	$(BIN)/jupyter-book build . --warningiserror --keep-going --quiet
	@touch $@
