"""Errors, contracts, probability and seeds: what every other layer stands on."""
