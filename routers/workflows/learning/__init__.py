"""Workflows that learn while they serve: what they share."""
