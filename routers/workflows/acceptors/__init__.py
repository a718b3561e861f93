"""Ways to tell whether an answer that is held back will do, one a file."""
