"""The conformance kit: what the host relies on in a plug-in, one check a rule, from pytest and `kras plugin check`."""
