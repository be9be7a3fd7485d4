"""Benchmarks of training: ``fit`` against a bare loop, and the tables of the documentation."""

from benchmarks.training.loop import run

__all__ = ["run"]
