"""Everything that needs a CUDA device, measured in one run of eight minutes; see `python -m benchmarks.gpu -h`."""
