"""Architectures, the taps that read their insides, and the table of names."""
