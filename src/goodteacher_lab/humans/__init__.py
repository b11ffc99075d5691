"""Scores on labels against distances to people."""
