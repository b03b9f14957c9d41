"""The tables of the documents that come from folders, code and published runs."""
