"""Training methods, one file each: what a run adds to the board's objective."""
