"""One network's training a module: its examples, its step, its losses."""
