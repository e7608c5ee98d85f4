"""`kras serve`: slides come in, a locked bundle scores them, people look, results leave."""
