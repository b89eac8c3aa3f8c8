"""jaxmap maps language models by their log-likelihoods.

A notebook does what the command line does:

    import jaxmap

    texts = jaxmap.load_texts("texts.jsonl")
    jaxmap.score("EleutherAI/pythia-70m@step{0,1000,143000}", texts, "runs")
    store = jaxmap.open_store("runs")
    store.dataset()                                  # xarray, (model, text), nats
    jaxmap.kl(store).to_dataframe()                  # bits per byte, with standard errors
    jaxmap.make_map(store).draw()                    # figures

The names below are loaded when they are first used, so that importing jaxmap starts neither JAX
nor anything else that takes seconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from jaxmap.version import __version__

if TYPE_CHECKING:
    from jaxmap.api.analyses import (
        diffusion,
        kl,
        make_map,
        pmi,
        report,
        scale,
        write_kl,
    )
    from jaxmap.api.comparison import card, compare
    from jaxmap.api.corpus import texts
    from jaxmap.api.demonstration import demo
    from jaxmap.api.dynamics import dynamics
    from jaxmap.api.floors import floor
    from jaxmap.api.lenses import train_lens
    from jaxmap.api.planning import bench, families, plan
    from jaxmap.api.reproduction import reproduce
    from jaxmap.api.resampling import place, resample
    from jaxmap.api.scoring import score, sweep
    from jaxmap.api.sharing import pull, push
    from jaxmap.api.stores import export, forget, import_released, open_store, status
    from jaxmap.api.tokens import tokens
    from jaxmap.api.verification import verify
    from jaxmap.corpus.texts import load_texts
    from jaxmap.errors import InputError, JaxmapError

# Module -> its public names. No module of the package may have a public name's name: importing it
# would put the module in the function's place.
_HOMES = {
    "jaxmap.api.analyses": (
        "diffusion",
        "kl",
        "make_map",
        "pmi",
        "report",
        "scale",
        "write_kl",
    ),
    "jaxmap.api.comparison": ("card", "compare"),
    "jaxmap.api.corpus": ("texts",),
    "jaxmap.api.demonstration": ("demo",),
    "jaxmap.api.floors": ("floor",),
    "jaxmap.api.tokens": ("tokens",),
    "jaxmap.api.lenses": ("train_lens",),
    "jaxmap.api.resampling": ("place", "resample"),
    "jaxmap.api.planning": ("bench", "families", "plan"),
    "jaxmap.api.reproduction": ("reproduce",),
    "jaxmap.api.scoring": ("score", "sweep"),
    "jaxmap.api.sharing": ("pull", "push"),
    "jaxmap.api.stores": ("export", "forget", "import_released", "open_store", "status"),
    "jaxmap.api.dynamics": ("dynamics",),
    "jaxmap.api.verification": ("verify",),
    "jaxmap.corpus.texts": ("load_texts",),
    "jaxmap.errors": ("InputError", "JaxmapError"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "InputError",
    "JaxmapError",
    "__version__",
    "bench",
    "card",
    "compare",
    "demo",
    "diffusion",
    "dynamics",
    "export",
    "families",
    "floor",
    "forget",
    "import_released",
    "kl",
    "load_texts",
    "make_map",
    "open_store",
    "place",
    "plan",
    "pmi",
    "pull",
    "push",
    "report",
    "reproduce",
    "resample",
    "scale",
    "score",
    "status",
    "sweep",
    "texts",
    "tokens",
    "train_lens",
    "verify",
    "write_kl",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'jaxmap' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
