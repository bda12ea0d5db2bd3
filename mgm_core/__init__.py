"""Mask guided matting: the Progressive Refinement Network and what surrounds it."""
