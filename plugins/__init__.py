"""Everything in kdbench that has a name: one file for each backbone, teacher, method, data set and launcher."""
