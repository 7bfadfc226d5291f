"""Ways of running the cells of a sweep, one file each."""
