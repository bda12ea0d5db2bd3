"""Where the work is kept: what a folder lies on, and copies of it elsewhere."""
