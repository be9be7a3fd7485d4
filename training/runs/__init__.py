"""A run on disk and on screen: its folder, logs, plots, samples, and how it resumes."""
