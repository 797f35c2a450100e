"""The report: a run as its journal tells it, in numbers, pictures and a page."""
