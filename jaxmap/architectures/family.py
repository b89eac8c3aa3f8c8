"""What a page about a family of models says, as one value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from jaxmap.architectures.config import Config
from jaxmap.architectures.rows import Row
from jaxmap.model.spec import Spec


@dataclasses.dataclass(frozen=True)
class Family:
    """One `model_type` of config.json.

    A page, a module of this package or of another one, has a dict `FAMILIES` from the types that
    it is about to their Family.

    Fields:
      paper: whom to cite.
      spec: config.json -> Spec.
      rows: Spec -> parameter path -> where it is stored in a checkpoint.
      prefix: what the names of a whole model's tensors begin with; a file that was saved from the
        bare transformer lacks it.
      inert_tensors: regular expressions for tensors that hold nothing learnt.
    """

    paper: str
    spec: Callable[[Config], Spec]
    rows: Callable[[Spec], Mapping[str, Row]]
    prefix: str
    inert_tensors: tuple[str, ...]
