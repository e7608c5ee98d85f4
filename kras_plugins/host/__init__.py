"""Plug-ins: found, configured, opened and isolated."""
