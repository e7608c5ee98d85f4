"""`make fuzz`: changed inputs of every kind, each of which must end in one clear error or in the exact result.

`kind.py` says what a kind of input is, `server.py` tries one change in a process of its own, `__main__.py` runs kinds
and prints the table,
`guided.py` looks for bytes that reach new lines of a parser. Every other file has some kinds: what a sound input is,
how it is changed, and what each change must lead to, computed apart from the product.
"""
