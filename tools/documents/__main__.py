"""`python -m tools.documents` writes the tables anew into the documents."""

from __future__ import annotations

from tools.documents.tables import write_tables

write_tables()
