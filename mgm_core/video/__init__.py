"""Clips: `python -m mgm_core.video`."""
