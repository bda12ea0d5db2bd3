"""Training examples and where they come from."""
