"""Work that waits, is loaded once, is cancelled, or fails."""
