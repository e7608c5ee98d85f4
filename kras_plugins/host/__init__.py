"""Plug-ins found, configured, opened and kept apart."""
