"""Networks that others have trained, frozen. Only training and evaluation use them; the service does not ship them."""
