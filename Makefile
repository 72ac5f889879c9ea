# `make run` to try it, `make test` to prove it. The work is in scripts/, so that each step can also be run by hand.

.PHONY: help run test check bench fuzz clean

help:
	@echo "make run    install what is missing, build, start everything on http://localhost:8080"
	@echo "make test   install what tests need and run every test (about half an hour on two cores)"
	@echo "make check  the fast part of it: format, lints, unit tests, web types and unit tests"
	@echo "make bench  measure this machine, and str0m and Janus on it (25 minutes; BENCH=short 6)"
	@echo "make fuzz   properties with new inputs, ten million executions of each fuzz target (hours; RUNS=10000 minutes)"
	@echo "make clean  remove what was built and downloaded; .anteroom, the data of make run, stays"

run:
	@scripts/run.sh

test:
	@scripts/test.sh

check:
	@scripts/check.sh

bench:
	@scripts/bench.sh

fuzz:
	@scripts/properties.sh
	@RUNS=$${RUNS:-10000000} scripts/fuzz.sh

clean:
	rm -rf target web/dist web/node_modules web/e2e/out .cache
