"""Benchmarks: the paper's experiments, and speed. ``python -m benchmarks`` lists them."""
