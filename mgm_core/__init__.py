"""Mask guided matting: the Progressive Refinement Network and what surrounds it."""

__version__ = "0.1.0"
