"""Measurements against other servers, in one run on one machine: `make bench`, or `python -m tests.benchmarks --help`.

They judge nothing: no test depends on a speed. What they print goes to docs/performance.md together with its command.
"""
