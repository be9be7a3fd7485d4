"""One run of a study: its folder, its objective, and the reasons to end it early."""
