"""Masks in and out in other tools' formats."""
