"""The database of a service: its tables, how it is opened, and how it is brought up to date."""
