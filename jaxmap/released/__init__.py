"""The authors' released data folder: what its files are, and the way to a store and back."""
