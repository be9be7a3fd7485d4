"""The judge: how near a generator's images come to real ones, measured on features and on the images themselves."""
