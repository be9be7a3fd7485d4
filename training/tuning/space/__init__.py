"""The settings that a study searches: as YAML, as draws, and validated before the first trial."""
