"""What can be told from an answer by reading it: the answer proper, and signs of trouble."""
