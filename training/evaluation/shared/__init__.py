"""The judge that all data sets share: distances on the features of one published network."""
