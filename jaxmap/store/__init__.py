"""The store, the waist of the house: above it models and accelerators, below it matrices."""

from jaxmap.store.record import Entry, Identity, Provenance, Record, TextFacts
from jaxmap.store.store import Store
from jaxmap.store.work import Failure, Item

__all__ = ["Entry", "Failure", "Identity", "Item", "Provenance", "Record", "Store", "TextFacts"]
