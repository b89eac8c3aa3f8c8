"""The interface between scoring and analysis: results in a folder, and what was asked for."""

from jaxmap.store.record import Entry, Identity, Provenance, Record
from jaxmap.store.requests import Failure, Item
from jaxmap.store.store import Store
from jaxmap.store.text_facts import TextFacts

__all__ = ["Entry", "Failure", "Identity", "Item", "Provenance", "Record", "Store", "TextFacts"]
