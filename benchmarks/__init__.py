"""Measures how fast Figment is, against comparisons on the same machine. ``python -m benchmarks`` runs everything."""
