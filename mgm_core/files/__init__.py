"""Files that results go to."""
