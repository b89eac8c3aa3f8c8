"""What a notebook calls: the same work as the commands of the same names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxmap.corpus.texts import TextSet, load_texts
from jaxmap.store import Store

if TYPE_CHECKING:
    import xarray

    from jaxmap.sweeps.run import Outcome


def open_store(path: str | os.PathLike[str]) -> Store:
    """Opens a store for reading; InputError when there is none."""
    return Store.open(path)


def score(
    models: str | Sequence[str],
    texts: TextSet | str | os.PathLike[str],
    store: str | os.PathLike[str],
    **options: Any,
) -> Outcome:
    """Scores models on texts and keeps the results in a store, like `jaxmap score`.

    Args:
      models: one reference, a comma-separated list, or several; braces expand.
      texts: a text set or the file to read one from.
      store: a folder, made if it is not there; what it holds already is not computed again.
      options: of `jaxmap.sweeps.run.score_models`: dtype, lens, quantize,
        batch_tokens, ignore_config_keys.

    Returns what was scored, what was found finished and what failed; failures do not raise.
    """
    from jaxmap.checkpoint.refs import parse_refs
    from jaxmap.sweeps.run import score_models

    specs = [models] if isinstance(models, str) else models
    refs = list(dict.fromkeys(ref for spec in specs for ref in parse_refs(spec)))
    texts = texts if isinstance(texts, TextSet) else load_texts(texts)
    return score_models(refs, texts, Store.create(store, texts), **options)


def kl(store: Store | str | os.PathLike[str]) -> xarray.Dataset:
    """KL divergence between all models of a store, in bits per byte, with standard errors.

    Returns variables kl and standard_error, float64 over (model_a, model_b).
    """
    import xarray

    from jaxmap.stats.divergence import kl_KK

    store = store if isinstance(store, Store) else Store.open(store)
    entries = store.records()
    result = kl_KK(store.log_likelihoods(entries), store.texts.mean_bytes)
    labels = [entry.label for entry in entries]
    dims = ("model_a", "model_b")
    return xarray.Dataset(
        {"kl": (dims, result.kl), "standard_error": (dims, result.standard_error)},
        coords={"model_a": labels, "model_b": labels},
        attrs={"units": "bits per byte", "texts": store.texts.fingerprint},
    )
