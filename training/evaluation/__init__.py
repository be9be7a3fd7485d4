"""Scores a generator: how near its images come to real ones, on features of a judge and on the images themselves."""
