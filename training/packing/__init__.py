"""Packs a generator that was trained elsewhere: looks at its graph, and wraps it as a bundle."""
