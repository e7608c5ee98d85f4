"""Objects on object storage and web servers: read by byte ranges, kept as artifacts, copied here temporarily."""
