"""The mean-squared-error perspective (a BCPD teacher): its toy, its theorem and its tables."""
