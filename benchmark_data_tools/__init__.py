"""Benchmarks: the paper's tables as commands, and the metrics they are made of."""
