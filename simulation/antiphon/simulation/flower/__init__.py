"""Runs on Flower: letters over its grid, and its simulation engine."""
