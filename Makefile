# make repro   the main job: build, boot and explain the founding bug (s390x)
# make test    all the tests, with guests
.DEFAULT_GOAL := help
.PHONY: help setup setup-tests repro test test-quick test-guest test-slow lint bench matrix worker \
	scoreboard lives soak founding-report clean zoo
BIN := .venv/bin
# Where Python may not keep what it compiles, each of the tests' many processes compiles all anew.
unexport PYTHONDONTWRITEBYTECODE

help:
	@echo "make repro        build the s390x lab kernel, boot the founding bug, explain it"
	@echo "make test         lint and every test, with guests in QEMU"
	@echo "make test-quick   unit and TUI tests: under a minute, no kernel"
	@echo "make test-slow    a bisect of a kernel, virtme-ng: half an hour and more"
	@echo "make lint         ruff, mypy, import-linter, shellcheck"
	@echo "make bench        measure; writes build/bench.json"
	@echo "make matrix       every step on Debian's kernels in guests; writes docs/matrix.md"
	@echo "make matrix SCHEDULER=tcp://...   the same on a Dask cluster: docs/cluster.md"
	@echo "make scoreboard   explain every fault from every subset of the evidence (RESUME=1: go on)"
	@echo "make scoreboard HEALTHY=50   so many boots without a fault of each kernel: resumable"
	@echo "make lives        are recordings of pages' lives whole? on two QEMUs; resumable; hours"
	@echo "make soak         the tests with guests ten times, six beside compilers: resumable; hours"
	@echo "make zoo          bugs that upstream shipped, given back to kernels, and explained"
	@echo "make founding-report   the set-up of the founding report as it was: most of an hour"
	@echo "make setup        only install what is missing (setup-tests: for the tests too)"
	@echo "make clean        remove what was made in this folder (not the caches)"

setup:
	@scripts/setup

setup-tests:
	@scripts/setup tests

repro: setup
	@$(BIN)/zaptrace repro s390x --expect freed_before_rmap_removed

# mypy, most of lint, works at one processor, and so goes on beside the quick tests.
test: setup-tests
	@$(MAKE) --no-print-directory --jobs 2 lint test-quick
	@$(MAKE) --no-print-directory test-guest

# One process more than there are cores: tests of the TUI and of processes wait now and then.
test-quick: setup-tests
	@$(BIN)/pytest -q --forks $$(($$(nproc) + 1)) tests/unit tests/tui

test-guest: setup-tests
	@$(MAKE) --no-print-directory --jobs 2 kernels-s390x kernels-x86_64
	@$(BIN)/pytest -v --numprocesses $$(($$(nproc) + 1)) tests/guest

# Both architectures at once: each build has parts that only one processor works at.
kernels-%:
	@$(BIN)/zaptrace vm kernel build $*

test-slow: setup-tests
	@$(BIN)/pytest -v tests/slow

lint: setup-tests
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@mkdir -p build
	@$(BIN)/lint-imports --no-cache >build/lint-imports.log || { cat build/lint-imports.log; exit 1; }
	@shellcheck scripts/setup vm/guest/init vm/guest/early vm/guest/find-disks tests/zoo/init .ci/run

bench: setup-tests
	@$(BIN)/python -m tests.bench

matrix: setup-tests
	@$(BIN)/python -m tests.matrix $(if $(SCHEDULER),--scheduler $(SCHEDULER))

worker: setup-tests
	@$(BIN)/python -m zaptrace.runs.cluster.worker $(SCHEDULER)

scoreboard: setup-tests
	@$(BIN)/python -m $(if $(HEALTHY),tests.scoreboard.healthy $(HEALTHY),tests.scoreboard $(if $(RESUME),--resume))

lives: setup-tests
	@$(BIN)/python -m tests.lives

soak: setup-tests
	@$(BIN)/python -m tests.soak

zoo: setup-tests
	@$(BIN)/python -m tests.zoo $(if $(RESUME),--resume)

founding-report: setup-tests
	@$(BIN)/python -m tests.founding

clean:
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
