"""The ground floor of the house: what a generator is, how it is packed, what its noise means."""
