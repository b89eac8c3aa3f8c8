"""Identities, provenance and records of the results of a checkpoint, and what else is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.sources.types import CheckpointFiles
from jaxmap.checkpoint.storage import Storage
from jaxmap.corpus.token_cache import Tokenised, TokenisedTexts
from jaxmap.corpus.tokens import Tokens
from jaxmap.corpus.vocabulary import RULE, RULE_NAME
from jaxmap.engine.scores import Scores
from jaxmap.environment import versions
from jaxmap.store import Store, token_spans
from jaxmap.store.record import Entry, Identity, Provenance, Record
from jaxmap.store.requests import Item
from jaxmap.store.statistics import TOKEN_PREFIX, in_16_bits, is_per_token
from jaxmap.sweeps.loaded_checkpoint import LoadedCheckpoint, ModelFacts
from jaxmap.variant import Variant


def output_identity(
    files: CheckpointFiles, texts: str, tokenised: Tokenised, dtype: str, item: Item
) -> Identity:
    """The identity of the model's own output, in the precision of an item.

    Args:
      files: the checkpoint.
      texts: the fingerprint of the text set.
      tokenised: the ids of the texts by the checkpoint's tokenizer.
      dtype: the precision of the model.
      item: the item.
    """
    return Identity(
        ref=files.ref.name,
        revision=files.ref.revision,
        commit=files.commit,
        texts=texts,
        tokenizer=tokenised.fingerprint,
        special_rule=tokenised.special_rule,
        variant=Variant(dtype, item.variant.quantisation, engine=item.variant.engine),
    )


def kept_results(
    store: Store, identity: Identity, item: Item, L: int | None
) -> dict[Variant, Entry | None]:
    """The store's entries for an item: the output, which comes first, and the layers 0 to L."""
    output, lens = identity.variant, item.variant.lens
    layers = range((L or 0) + 1) if lens else ()
    variants = [output, *(replace(output, layer=layer, lens=lens) for layer in layers)]
    found = store.find_all(replace(identity, variant=one) for one in variants)
    return dict(zip(variants, found, strict=True))


def lacking(item: Item, kept: Mapping[Variant, Entry | None]) -> tuple[str, ...]:
    """The statistics of an item that at least one of its results lacks."""
    return tuple(
        name
        for name in item.statistics
        if any(entry is None or name not in entry.statistics for entry in kept.values())
    )


def provenance(
    files: CheckpointFiles,
    model: ModelFacts,
    tokenised: Tokenised,
    *,
    seconds: float,
    storage: Storage,
    default_dtype: str,
    device: str,
    versions: dict[str, str],
) -> Provenance:
    """The provenance of the results of a checkpoint.

    Args:
      files, model, tokenised: the checkpoint.
      seconds: the time that they took.
      storage: of the weights that were scored: the checkpoint's own, or a quantised copy's.
      default_dtype: the precision that "auto" stands for.
      device, versions: on what and with which libraries they were computed.
    """
    card = files.card
    bases = card.base_models or tuple(filter(None, [Checkpoint(files.folder).base_name]))
    return Provenance(
        is_default_dtype=model.dtype == default_dtype,
        num_layers=model.num_layers,
        truncated=int(tokenised.tokens.truncated.sum()),
        apart=int(tokenised.tokens.apart.sum()),
        context=model.context,
        versions=versions,
        device=device,
        seconds=round(seconds, 3),
        files=tuple(tuple(stat) for stat in files.files),
        model={
            "model_type": model.model_type,
            "num_parameters": model.num_parameters,
            "stored_dtype": model.stored_dtype,
            **({"dense_up_to": model.dense_up_to} if model.dense_up_to is not None else {}),
            **storage.facts,
            **({"base": list(bases)} if bases else {}),
            **({"tokenizer": files.tokenizer} if files.tokenizer else {}),
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
    *,
    in_16: bool = False,
) -> list[Record]:
    """The records of an item, of the output and each layer of a lens, that the store lacks.

    Args:
      identity: the identity of the output.
      kept: the entries that the store has already, see `kept_results`.
      item: the item.
      scores: its statistics, [R, N]; the output is the last row.
      tokens: the ids of the text set.
      made_with: the provenance of the records.
      in_16: whether arrays per token are kept in 16 bits, see `in_16_bits`.
    """
    counts = {"num_tokens": tokens.lengths, "num_scored": tokens.num_scored}
    narrow = in_16_bits if in_16 else np.asarray
    records = []
    for variant, entry in kept.items():
        row = -1 if variant.layer is None else variant.layer
        arrays = {
            name: narrow(scores.per_token[name.removeprefix(TOKEN_PREFIX)][row])
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
    """The versions of libraries on which a result depends, and of the token rule."""
    return versions() | {RULE_NAME: str(RULE)}


def keep_output(
    store: Store, scores: Scores, item: Item, kept: Mapping[Variant, Entry | None]
) -> None:
    """Copies an earlier output, scored without the lens, to the last layer, bit by bit.

    Args:
      store: the store, which has the output if it was scored earlier.
      scores: the statistics of the item, [R, N], of which the last row is replaced.
      item: the item.
      kept: the entries that the store has already, see `kept_results`.
    """
    output = next(iter(kept.values()))
    if output is not None and item.variant.lens:
        arrays = store.load(output).arrays
        for name in arrays.keys() & scores:
            scores[name][-1] = arrays[name]


def keep_spans(
    store: Store,
    tokenised: TokenisedTexts,
    loaded: LoadedCheckpoint,
    identity: Identity,
    made_with: Provenance,
) -> None:
    """Writes the bytes of each token to the store, unless a model with these tokens has."""
    path = token_spans.path_of(store.path, identity, made_with)
    if not path.exists():
        tokens = loaded.texts.tokens
        found = tokenised.spans_by(loaded.files.folder, tokens)
        offsets_N1 = np.concatenate([[0], np.cumsum(tokens.num_scored, dtype=np.int64)])
        token_spans.write(path, token_spans.Spans(*found, offsets_N1))
