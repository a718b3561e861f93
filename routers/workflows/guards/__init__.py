"""Whether a request may be answered: a fast guard that was learned, a slow one that is asked."""
