"""Every setting of the service, with the checks and the computed defaults that settings need."""
