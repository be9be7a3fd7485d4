"""Layers and blocks that several network families share."""
