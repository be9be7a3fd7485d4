"""Reads the logs of runs, of Figment's and of others, and reports what the doctor finds in them."""
