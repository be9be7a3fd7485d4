"""All runs of a study: where they are stored, which comes next, and which are worth continuing."""
