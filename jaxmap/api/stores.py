"""What a store holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxmap.api.arguments import Path, StoreLike, open_for_reading
from jaxmap.store import Store

if TYPE_CHECKING:
    import xarray


def open_store(store: Path) -> Store:
    """Opens a store for reading; raises InputError where there is none."""
    return Store.open(store)


def kl(store: StoreLike) -> xarray.Dataset:
    """KL divergence between all models of a store, in bits per byte, with standard errors.

    Returns variables kl and standard_error, float64 over (model_a, model_b).
    """
    import xarray

    from jaxmap.stats.divergence import kl_KK

    store = open_for_reading(store)
    entries = store.records()
    result = kl_KK(store.log_likelihoods(entries), store.texts.mean_bytes)
    labels = [entry.label for entry in entries]
    dims = ("model_a", "model_b")
    return xarray.Dataset(
        {"kl": (dims, result.kl), "standard_error": (dims, result.standard_error)},
        coords={"model_a": labels, "model_b": labels},
        attrs={"units": "bits per byte", "texts": store.texts.fingerprint},
    )
