"""The options of a run of `jaxmap compare`."""

from __future__ import annotations

import dataclasses

from jaxmap.checkpoint.refs import Ref


@dataclasses.dataclass(frozen=True)
class ComparisonOptions:
    """What a run compares.

    Fields:
      reference: what the others are compared with.
      refs: the models.
      quantisations: for each model: "none" is itself, the others are copies made here.
      dtype: the arithmetic of all, see PRECISIONS, or "auto".
      lens: whether the layers of each model itself are compared too, through the logit lens.
      tuned_lens: a folder of tuned lenses to use instead of the logit lens; "": none.
      floor_dtype: another arithmetic, in which the reference and each copy are compared with
        themselves; "": none.
      by: fields of the texts; statistics are also of the texts with each value of them.
      keep_states: bits in which the reference's final hidden states are kept in the store, so that
        it need not be in memory beside each model; 0: it is.
      states_budget: bytes that they may take.
      layer_by_layer: "yes": the reference's states are computed with one layer's weights in memory
        at a time; "no": they are not; "auto": if its weights do not fit.
      page: whether compare.html is written too.
      batch_tokens: tokens per batch; None: a default for the device.
      ignore_config_keys: keys of config.json declared without effect on the logits.
    """

    reference: Ref
    refs: tuple[Ref, ...]
    quantisations: tuple[str, ...] = ("none",)
    dtype: str = "auto"
    lens: bool = False
    tuned_lens: str = ""
    floor_dtype: str = ""
    by: tuple[str, ...] = ()
    page: bool = False
    keep_states: int = 0
    states_budget: int = 0
    layer_by_layer: str = "auto"
    batch_tokens: int | None = None
    ignore_config_keys: tuple[str, ...] = ()
