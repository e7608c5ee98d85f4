"""The semantic features, one file per group; `table` lists them all."""
