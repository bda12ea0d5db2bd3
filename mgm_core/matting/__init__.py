"""Alpha of a photograph from its guidance."""
