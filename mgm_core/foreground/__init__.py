"""The subject's own colours (section 3.2)."""
