"""The operating-system process: its address, its log, and how a worker behaves in it."""
