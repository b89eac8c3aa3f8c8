"""The results that a checkpoint can give: what identifies each, and what it was made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import jax

from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.sources.types import CheckpointFiles
from jaxmap.checkpoint.storage import Storage
from jaxmap.checkpoint.weights import Model
from jaxmap.corpus.reading import RULE, RULE_NAME
from jaxmap.corpus.token_cache import Tokenised
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine.scores import Scores
from jaxmap.environment import device, versions
from jaxmap.precision import default_dtype
from jaxmap.store import Store
from jaxmap.store.record import Entry, Identity, Provenance, Record
from jaxmap.store.requests import Item
from jaxmap.store.statistics import TOKEN_PREFIX, is_per_token
from jaxmap.variant import Variant


def output_identity(
    files: CheckpointFiles, texts: str, tokenised: Tokenised, dtype: str, item: Item
) -> Identity:
    """Identity of the model's own output, in the precision that an item is scored in.

    Args:
      files: the checkpoint.
      texts: fingerprint of the text set.
      tokenised: the texts as the checkpoint's tokenizer reads them.
      dtype: that the model computes in.
      item: what is asked of the checkpoint.
    """
    return Identity(
        ref=files.ref.name,
        revision=files.ref.revision,
        commit=files.commit,
        texts=texts,
        tokenizer=tokenised.fingerprint,
        special_rule=tokenised.special_rule,
        variant=Variant(dtype, item.variant.quantisation),
    )


def kept_results(
    store: Store, identity: Identity, item: Item, L: int
) -> dict[Variant, Entry | None]:
    """What the store has of an item: its output, which comes first, and its layers 0..L."""
    output, lens = identity.variant, item.variant.lens
    layers = range(L + 1) if lens else ()
    variants = [output, *(replace(output, layer=layer, lens=lens) for layer in layers)]
    found = store.find_all(replace(identity, variant=one) for one in variants)
    return dict(zip(variants, found, strict=True))


def lacking(item: Item, kept: Mapping[Variant, Entry | None]) -> tuple[str, ...]:
    """The statistics of an item that any of its results is without."""
    return tuple(
        name
        for name in item.statistics
        if any(entry is None or name not in entry.statistics for entry in kept.values())
    )


def provenance(
    files: CheckpointFiles,
    model: Model,
    tokenised: Tokenised,
    seconds: float,
    storage: Storage | None = None,
) -> Provenance:
    """What the results of a checkpoint were made with, and the seconds that they took.

    storage: of a copy that was made in memory; None: the checkpoint's own.
    """
    card = files.card
    bases = card.base_models or tuple(filter(None, [Checkpoint(files.folder).base_name]))
    default = default_dtype(jax.default_backend(), model.stored_dtype)
    return Provenance(
        is_default_dtype=model.dtype == default,
        num_layers=model.spec.L,
        truncated=int(tokenised.tokens.truncated.sum()),
        apart=int(tokenised.tokens.apart.sum()),
        context=model.spec.context,
        versions=result_versions(),
        device=device(),
        seconds=round(seconds, 3),
        files=tuple(tuple(stat) for stat in files.files),
        model={
            "model_type": model.model_type,
            "num_parameters": model.num_parameters,
            "stored_dtype": model.stored_dtype,
            **(storage or model.storage).facts,
            **({"base": list(bases)} if bases else {}),
            **({"base_relation": card.relation} if card.relation else {}),
        },
    )


def new_records(
    identity: Identity,
    kept: Mapping[Variant, Entry | None],
    item: Item,
    scores: Scores,
    tokens: Tokens,
    made_with: Provenance,
) -> list[Record]:
    """The records that the store lacks of an item: of its output and of each layer of a lens.

    Args:
      identity: of the output.
      kept: what the store has already, see `kept_results`.
      item: what is asked of the checkpoint.
      scores: its statistics, [R, N]; the output is the last row.
      tokens: the text set as the model reads it.
      made_with: the provenance of each.
    """
    counts = {"num_tokens": tokens.lengths, "num_scored": tokens.num_scored}
    records = []
    for variant, entry in kept.items():
        row = -1 if variant.layer is None else variant.layer
        arrays = {
            name: scores.per_token[name.removeprefix(TOKEN_PREFIX)][row]
            if is_per_token(name)
            else scores[name][row]
            for name in lacking(item, {variant: entry})
        }
        if arrays:
            arrays |= counts if entry is None else {}
            one = replace(identity, variant=variant)
            records.append(Record(one, made_with, arrays, scores.offsets_N1))
    return records


def result_versions() -> dict[str, str]:
    """Versions of what a result depends on, the rule that made its tokens among them."""
    return versions() | {RULE_NAME: str(RULE)}
