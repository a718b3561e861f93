"""Pictures, recordings and files of a request: their sizes, and what models count them for."""
