"""Figment's own routes: images by JSON or address, walks between images, models, health, and pages."""
