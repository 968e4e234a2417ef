"""Products: where they come from, their attributes in SQLite, filters and text search."""
