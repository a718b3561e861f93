"""Agents that work on a request together: who is drawn, and how they work."""
