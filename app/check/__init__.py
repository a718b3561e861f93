"""What is checked of a configuration before it is served, and what is said of it."""
