"""Objects on object storage and web servers: read by ranges, kept as artifacts, copied here for a while."""
