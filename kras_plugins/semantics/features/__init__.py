"""The semantic features, one file a group; `table` lists them all."""
