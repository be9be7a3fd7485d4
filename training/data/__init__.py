"""From a data source to batches: finding, decoding, caching, checking and loading images."""
