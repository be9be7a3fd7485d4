"""The results of a study: an HTML page with plots, and the winner's bundle."""
