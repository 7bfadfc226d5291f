"""Ways of obtaining a teacher, one file each."""
