"""Measures other servers at the same work, each in its own virtual environment."""
