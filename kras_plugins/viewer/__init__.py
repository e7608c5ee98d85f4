"""`kras view`: slides, and what was found in them, in the browser."""
