"""How the shipped weights were made: run from the repository, not part of the installed package."""
