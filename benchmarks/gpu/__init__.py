"""Measure everything that needs a CUDA device, in one run of eight minutes; see `python -m benchmarks.gpu -h`."""
