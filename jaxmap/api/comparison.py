"""Models beside a reference, token by token: compare, card."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from jaxmap.api.arguments import (
    Models,
    Names,
    Path,
    StoreLike,
    Texts,
    check_new_store,
    models_of,
    names_of,
    open_for_reading,
    open_for_writing,
    texts_of,
)
from jaxmap.errors import InputError
from jaxmap.output_paths import check_folder

if TYPE_CHECKING:
    from jaxmap.comparison.store_card import StoreCard
    from jaxmap.comparison.table import Comparison


def compare(
    models: Models | None,
    texts: Texts,
    store: StoreLike,
    *,
    reference: Models,
    models_file: Path | None = None,
    out: Path | None = None,
    quantize: Names = ("none",),
    lens: bool | str = False,
    dtype: str = "auto",
    floor_dtype: str = "",
    by: Names = (),
    page: bool = False,
    keep_states: int = 0,
    states_budget: int | str = "20GB",
    layer_by_layer: str = "auto",
    batch_tokens: int | None = None,
    ignore_config_keys: Names = (),
    command: str = "",
) -> Comparison:
    """Compares models with a reference, token by token.

    At every scored token the KL divergence of the two next-token distributions is computed in both
    directions, exactly and over the whole vocabulary, which is never in memory as one array. The
    result has a row per model with means, quantiles and standard errors over texts, and beside them
    the estimate of the papers from the variance of log-likelihoods, which is another quantity.

    A model with another tokenizer has no token KL. It is compared between the bytes where tokens of
    both end: bits per byte of both there, by field and kind, the texts that differ most, the page.

    The reference is in memory beside each model, or with `keep_states` not. What was measured
    before of the same files, texts and arithmetic is read from the store; a call that was
    interrupted is resumed by calling it again. A model that cannot be compared does not stop the
    others: it is in `failures`.

    Args:
      models, models_file, texts, store, dtype, batch_tokens, ignore_config_keys: as of `score`.
      reference: the one model that the others are compared with.
      out: a folder for compare.csv, compare_statistics.csv (all statistics with their standard
        errors, also by the reference's confidence and by kind of token), compare_texts.csv (the
        texts that differ most) and compare.md, a table for a model card; None: not written.
      quantize: which copies of each model: "none" is the model itself; "int8", "nf4" and "fp4"
        have their linear layers in 8 or 4 bit.
      lens: whether the layers of each model (not of its copies) are compared with the reference
        too, each as a row of its own: "logit" or True, or "tuned:FOLDER", as of `score`.
      floor_dtype: another arithmetic than `dtype`, such as "bfloat16": the reference and each copy
        are compared with themselves in it, which shows how much of a divergence may be rounding.
        It about doubles the time. "": no floors.
      by: fields of the texts, such as "source" or "meta.pile_set_name": statistics are also of the
        texts with each value of them.
      page: whether to write compare.html too, a self-contained page with the texts that differ
        most, each token coloured by its divergence, and what both models find likeliest there.
        `report` of the store shows three of them in any case.
      keep_states: 16 or 32: the reference's final hidden states are kept in the store in so many
        bits (2 or 4 bytes x width a token), and it is not in memory while others are compared with
        it. They are computed once; of a reference that has changed since they are computed anew.
        16 bits are bfloat16 where states are computed in it, which loses nothing, else float16. 0:
        both are in memory, if they fit.
      states_budget: the most that these states may take on the disk, as "20GB"; an int is in bytes.
      layer_by_layer: "auto": a reference whose weights take more than nine tenths of the memory is
        read one layer at a time: all texts go through a layer before the next one is read, and its
        states are kept in the store as with `keep_states`, in as many bits as they are computed in
        if that is 0. So are they of one that fits alone, but not beside the model. "yes": layer by
        layer in any case; "no": never.
      command: what somebody types to do the same again, for compare.md; "": nothing.

    Raises InputError for a parameter, texts, a store or a reference that cannot be used.
    """
    from jaxmap.byte_sizes import parse_size
    from jaxmap.lens.tuned_lens import parse_lens
    from jaxmap.precision import check_precision
    from jaxmap.variant import parse_quantisations

    check_new_store(store)
    refs, [its_ref, *more] = models_of(models, models_file), models_of(reference)
    if more:
        raise InputError(f"names {1 + len(more)} models; give one", field="reference")
    quantisations = parse_quantisations(names_of(quantize))
    lenses = parse_lens(lens) if isinstance(lens, str) else {"lens": bool(lens)}
    if floor_dtype:
        check_precision(floor_dtype, "floor_dtype")
        if floor_dtype == dtype:
            raise InputError(f"{dtype} is the arithmetic compared in", field="floor_dtype")
    if keep_states not in (0, 16, 32):
        raise InputError("is 16 or 32 (bits), or 0", field="keep_states", value=keep_states)
    if layer_by_layer not in ("auto", "yes", "no"):
        raise InputError("is auto, yes or no", field="layer_by_layer", value=layer_by_layer)
    if out is not None:
        check_folder(out)
    text_set = texts_of(texts)
    opened = open_for_writing(store, text_set)
    from jaxmap import runtime

    runtime.prepare()
    from jaxmap.comparison.options import ComparisonOptions
    from jaxmap.comparison.run import compare_models

    options = ComparisonOptions(
        reference=its_ref,
        refs=tuple(refs),
        quantisations=quantisations,
        **lenses,
        dtype=dtype,
        floor_dtype=floor_dtype,
        by=names_of(by),
        page=page,
        keep_states=keep_states,
        states_budget=parse_size(states_budget, "states_budget"),
        layer_by_layer=layer_by_layer,
        batch_tokens=batch_tokens,
        ignore_config_keys=names_of(ignore_config_keys),
    )
    found = compare_models(options, text_set, opened, command)
    if out is not None:
        found.save(FilePath(out))
    return found


def card(
    store: StoreLike,
    *,
    reference: str | None = None,
    out: Path | None = None,
    command: str = "",
) -> StoreCard:
    """The table and figure for a model card of all that a store has compared with a reference.

    A row for each copy, the smallest first: size, bits per weight, both KLs with their errors, how
    often the likeliest token is the same, the change in bits per byte, and floors where they were
    measured; KL against size with the copies that no other beats. No model is read.

    Args:
      store: a store that `compare` has written to, or its folder.
      reference: the name of the model that the others were compared with; None: the one there is.
      out: a folder for card.csv, card.md and kl_and_size.png, .svg and .pdf; None: not written.
      command: what the card says it was made by; "": the commands that compared.

    Raises InputError where the store has no such comparison.
    """
    from jaxmap.comparison.store_card import collect

    if out is not None:
        check_folder(out)
    found = collect(open_for_reading(store), reference, command)
    if out is not None:
        found.save(FilePath(out))
    return found
