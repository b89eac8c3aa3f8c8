"""The content of a page about a family of models, as one value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from jaxmap.architectures.config import Config
from jaxmap.architectures.rows import Row
from jaxmap.model.spec import Spec

ShapeOf = Callable[[str], tuple[int, ...] | None]


@dataclasses.dataclass(frozen=True)
class Family:
    """One `model_type` of config.json.

    A page is a module, of this package or of another one, with a dict `FAMILIES` from model types
    to their Family.

    Fields:
      paper: the paper to cite.
      spec: config.json -> Spec.
      rows: Spec -> for each parameter path, its place in a checkpoint.
      prefix: the common beginning of a model's tensor names, which files that were saved from the
        model without its head lack.
      inert_tensors: regular expressions for the names of tensors that the model does not use.
      inert_by_size: further such expressions, which depend on the Spec.
      by_shapes: from the Spec of config.json, and a function that gives a stored tensor's shape
        by its name (None where there is none), to the Spec that the tensors show; for what
        config.json may have wrong.
      text_type: set for checkpoints of several modalities, of which the language model is scored:
        its type where config.json names none.
      text_keys: beside it, where config.json may have the language model's object: keys, joined by
        dots, the first of which that is there counts.
      around: beside it, from that type to the page of the whole checkpoint, of which the language
        model is scored.
    """

    paper: str
    spec: Callable[[Config], Spec]
    rows: Callable[[Spec], Mapping[str, Row]]
    prefix: str
    inert_tensors: tuple[str, ...]
    text_type: str = ""
    text_keys: tuple[str, ...] = ("text_config",)
    around: Callable[[str], Family] | None = None
    by_shapes: Callable[[Spec, ShapeOf], Spec] | None = None
    inert_by_size: Callable[[Spec], tuple[str, ...]] | None = None
