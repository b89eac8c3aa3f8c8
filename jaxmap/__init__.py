"""jaxmap maps language models by their log-likelihoods.

A notebook does what the command line does:

    import jaxmap

    texts = jaxmap.load_texts("texts.jsonl")
    jaxmap.score("EleutherAI/pythia-70m@step{0,1000,143000}", texts, "runs")
    store = jaxmap.open_store("runs")
    store.dataset()                                  # xarray, (model, text), nats
    jaxmap.kl(store)                                 # bits per byte, with standard errors

The names below are loaded when they are first used, so that importing jaxmap starts neither JAX
nor anything else that takes seconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from jaxmap.version import __version__

if TYPE_CHECKING:
    from jaxmap.api.scoring import score, sweep
    from jaxmap.api.stores import kl, open_store
    from jaxmap.corpus.texts import load_texts
    from jaxmap.errors import InputError, JaxmapError

# Public name -> the module that has it. No module of the package may have a public name's name:
# importing it would put the module in the function's place.
_HOMES = {
    "score": "jaxmap.api.scoring",
    "sweep": "jaxmap.api.scoring",
    "kl": "jaxmap.api.stores",
    "open_store": "jaxmap.api.stores",
    "load_texts": "jaxmap.corpus.texts",
    "InputError": "jaxmap.errors",
    "JaxmapError": "jaxmap.errors",
}

__all__ = [
    "InputError",
    "JaxmapError",
    "__version__",
    "kl",
    "load_texts",
    "open_store",
    "score",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxmap' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
