"""How fast Figment is, and what it is compared with; ``python -m benchmarks`` runs all of it."""
