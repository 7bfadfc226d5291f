"""Video data sets, one file each, with the official split lists beside them."""
