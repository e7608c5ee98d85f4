"""The command line: one module per command group; `app.py` puts them together."""
