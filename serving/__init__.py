"""Online: bundle → images over HTTP. Imports neither PyTorch nor the trainer."""
