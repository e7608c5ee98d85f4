"""The HTTP API of a service for programs and browsers: cases, uploads, tokens, and who may use it."""
