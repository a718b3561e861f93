"""Requests that are no conversation and name their model, such as those for embeddings."""
