"""Compares the shipped presets with three rivals, at equal training time on one core."""
