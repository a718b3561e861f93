"""What several kinds, and training, estimate alike: lengths of answers, item response."""
