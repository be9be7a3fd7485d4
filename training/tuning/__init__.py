"""Searches for better settings: many runs of one budget, and the best of them again on fresh seeds."""
