"""Training examples made on the computing device."""
