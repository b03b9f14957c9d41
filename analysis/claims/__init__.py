"""Claims in a file, and whether a run bears them out."""
