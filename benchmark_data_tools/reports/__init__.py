"""A run's results as tables, charts, sheets and pages."""
