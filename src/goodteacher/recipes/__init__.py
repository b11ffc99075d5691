"""Functions that return a study: one file a paper, and the demo."""
