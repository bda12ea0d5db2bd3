"""The demo under load: many visitors at once, each answer held to its own picture, and faults."""
