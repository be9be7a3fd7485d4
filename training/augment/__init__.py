"""What the discriminator gets to see: augmentations, and the controller of their probability."""
