"""Folding: the model, its space, the updates that move it, and how well it does."""
