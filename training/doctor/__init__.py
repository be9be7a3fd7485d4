"""What is going wrong in a GAN's training: signals in, findings out. Pure: no torch, no files."""
