"""jaxmap maps language models by their log-likelihoods.

A notebook does what the command line does:

    import jaxmap

    texts = jaxmap.load_texts("texts.jsonl")
    jaxmap.score("EleutherAI/pythia-70m@step{0,1000,143000}", texts, "runs")
    store = jaxmap.open_store("runs")
    store.dataset()                                  # xarray, (model, text), nats
    jaxmap.kl(store)                                 # bits per byte, with standard errors

The names below are loaded when first used, so that importing jaxmap starts neither JAX nor
anything else that takes seconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from jaxmap.version import __version__

if TYPE_CHECKING:
    from jaxmap.api import kl, open_store, score
    from jaxmap.corpus.texts import load_texts
    from jaxmap.errors import InputError, JaxmapError

_HOMES = {
    "InputError": "jaxmap.errors",
    "JaxmapError": "jaxmap.errors",
    "kl": "jaxmap.api",
    "load_texts": "jaxmap.corpus.texts",
    "open_store": "jaxmap.api",
    "score": "jaxmap.api",
}

__all__ = [
    "InputError",
    "JaxmapError",
    "__version__",
    "kl",
    "load_texts",
    "open_store",
    "score",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxmap' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
