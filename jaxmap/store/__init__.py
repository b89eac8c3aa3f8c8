"""The store, the waist of the house: above it models and accelerators, below it matrices."""

from jaxmap.store.record import Entry, Identity, Provenance, Record, TextFacts
from jaxmap.store.requests import Failure, Item
from jaxmap.store.store import Store

__all__ = ["Entry", "Failure", "Identity", "Item", "Provenance", "Record", "Store", "TextFacts"]
