"""From a folder of bundles to running engines: polling, opening, swapping and unloading while the service runs."""
