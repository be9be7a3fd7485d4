"""FID, KID and Inception Score by the published protocol, for users who have the Inception weights."""
