"""Video networks, one file each."""
