"""Benchmarks: each prints our figure, a peer's from the same run, and the bound of design section 10.

`make bench`, or `python -m bench [NAME…] [--json] [--scale S]`. A benchmark reports; it never fails a build.
"""
