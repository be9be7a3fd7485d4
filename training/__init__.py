"""Offline: images → bundle. Imports neither the service nor BentoML."""
