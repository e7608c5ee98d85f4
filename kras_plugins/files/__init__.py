"""Files on their way in and out: regular and bounded, tables, shared work folders, paths that others may read."""
