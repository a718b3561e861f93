"""Policies that make several calls for one answer: what is called next, and when that will do."""
