"""The reference's final hidden states in a file, so that it need not stay in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import ml_dtypes
import numpy as np

from jaxmap.atomic import write_atomic
from jaxmap.byte_sizes import byte_text
from jaxmap.corpus.batches import Batch, batches
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine.reference import KeptReference, ReferenceModel
from jaxmap.engine.scorer import Scorer
from jaxmap.errors import InputError
from jaxmap.progress import progress

BITS = (0, 16, 32)


def kept_reference(
    path: Path,
    reference: ReferenceModel,
    scorer: Scorer,
    tokens: Tokens,
    *,
    bits: int,
    budget: int,
    batch_tokens: int | None = None,
) -> KeptReference:
    """The reference by its states in a file, which is written if it is not there.

    Args:
      path: the file, .npy; its name says all that the states depend on.
      reference, scorer: the model, which may go when this is done.
      tokens: what is scored.
      bits: 32, or 16: bfloat16 where the states are computed in it, else float16.
      budget: bytes that the file may take.
      batch_tokens: tokens of a batch; None: a default for the device.

    Raises InputError for a file that would be larger, a full disk, states that 16 bits do not hold,
    and a file of another shape.
    """
    start_N1 = np.concatenate([[0], np.cumsum(tokens.num_scored, dtype=np.int64)])
    model = reference.model
    packed = scorer.packed(tokens, batch_tokens, model.spec.D)
    E = reference.unembedding.head_VE.shape[1]
    first = next(iter(batches(tokens, packed)), None)
    computed = np.dtype(np.float32)
    if first is not None:
        computed = np.dtype(reference.read(first).states.dtype)
    kept = _kept_dtype(computed, bits)
    shape = int(start_N1[-1]), E
    size = shape[0] * E * kept.itemsize
    if size > budget:
        raise InputError(
            f"the reference's states take {byte_text(size)}; allow as much, or keep fewer bits",
            field="states_budget",
            value=byte_text(budget),
        )
    # A format for numbers that NumPy knows; bfloat16 is kept as its bits.
    stored = np.dtype(np.uint16) if kept == ml_dtypes.bfloat16 else kept

    def write(file: BinaryIO) -> None:
        header = {"descr": stored.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        begin = file.tell()
        with progress(len(tokens), "states", "text") as bar:
            for batch in batches(tokens, packed):
                states_BTE = np.asarray(reference.read(batch).states)
                for text, states_TE in _of_texts(batch, states_BTE):
                    rounded_TE = states_TE.astype(kept)
                    if not np.isfinite(rounded_TE.astype(np.float32)).all():
                        raise InputError(
                            f"a state of text {text} does not fit; keep 32 bits",
                            field="keep_states",
                            value=bits,
                        )
                    file.seek(begin + int(start_N1[text]) * E * kept.itemsize)
                    file.write(rounded_TE.tobytes())
                bar.update(len(batch.text))

    if not path.exists():
        write_atomic(path, write)
    try:
        states_ME = np.load(path, mmap_mode="r" if size else None, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged; delete it and compare again: {error}") from error
    if states_ME.shape != shape or states_ME.dtype != stored:
        raise InputError(f"{path}: holds other states than it should; delete it")
    return KeptReference(
        states_ME.view(kept), start_N1[:-1], computed, reference.unembedding, reference.vocabulary
    )


def _kept_dtype(computed: np.dtype, bits: int) -> np.dtype:
    if bits == 32:
        return np.dtype(np.float32)
    return computed if computed.itemsize == 2 else np.dtype(np.float16)


def _of_texts(batch: Batch, states_BTE: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    places = zip(batch.text, batch.row, batch.first, batch.stop, strict=True)
    for text, row, first, stop in places:
        yield int(text), states_BTE[row, first:stop]
