"""The conformance kit: what the host relies on in a plug-in, one check per rule, for pytest and `kras plugin check`."""
