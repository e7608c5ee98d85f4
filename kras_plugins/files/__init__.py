"""Files as they come in and go out: regular and bounded, tables, shared work folders, paths that others may read."""
