"""Speed, memory and precision, measured side by side with `transformers` in one run; see `python -m benchmarks -h`."""
