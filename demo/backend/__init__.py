"""From a visitor's order to its result."""
