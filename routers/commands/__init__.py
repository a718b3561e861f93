"""One command of the `steelyard` console script per file; the file name is its name."""
