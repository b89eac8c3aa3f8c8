"""Stores that are shared through a Hub dataset repository: `jaxmap push` and `jaxmap pull`."""
