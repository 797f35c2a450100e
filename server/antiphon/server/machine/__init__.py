"""The round machine: what a run does next, as a pure function of what has happened."""
