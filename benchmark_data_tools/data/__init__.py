"""Folders of benchmarks and their pictures."""
