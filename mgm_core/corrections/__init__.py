"""Corrections of the guidance by hand."""
