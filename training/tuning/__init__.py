"""The tuner: many runs of one budget, each with other settings, and the best of them run again."""
