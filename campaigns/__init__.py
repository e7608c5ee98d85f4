"""Long random trials of the whole product: each has a make target, a table, and a short part among the tests."""
