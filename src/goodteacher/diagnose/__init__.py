"""Scores of saved outputs: nothing here trains."""
