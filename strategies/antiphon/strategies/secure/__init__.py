"""Sums under masks: what the cohort has done together, and nobody's part of it."""
