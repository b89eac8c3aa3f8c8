"""The reference's final hidden states in a file, so that it need not stay in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import jax.numpy as jnp
import ml_dtypes
import numpy as np

from jaxmap.atomic import write_atomic
from jaxmap.byte_sizes import byte_text
from jaxmap.corpus.batches import Batch, BatchPlan, batches
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine.reference import KeptReference, ReferenceModel
from jaxmap.engine.unembedding import Unembedding
from jaxmap.errors import InputError
from jaxmap.precision import PRECISIONS
from jaxmap.progress import progress

BITS = (0, 16, 32)


class StatesSource(Protocol):
    """What computes the final hidden states: a model in memory, or one layer by layer."""

    @property
    def vocabulary(self) -> int:
        """The number of token ids of the model."""

    @property
    def unembedding(self) -> Unembedding:
        """The map from final hidden states to logits."""

    @property
    def states_dtype(self) -> np.dtype:
        """The dtype of the final hidden states."""

    def num_bytes_of_streams(self, packed: BatchPlan) -> int:
        """The bytes of other files that are there meanwhile."""

    def states(
        self, tokens: Tokens, packed: BatchPlan, streams: Path
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        """Each batch with its final hidden states [B, T, E]."""


class StatesInMemory:
    """The states of a model in memory."""

    def __init__(self, reference: ReferenceModel):
        self._reference = reference

    @property
    def vocabulary(self) -> int:
        """The number of token ids of the model."""
        return self._reference.vocabulary

    @property
    def unembedding(self) -> Unembedding:
        """The map from final hidden states to logits."""
        return self._reference.unembedding

    @property
    def states_dtype(self) -> np.dtype:
        """The dtype of the model's activations."""
        return np.dtype(jnp.dtype(PRECISIONS[self._reference.model.dtype].activations))

    def num_bytes_of_streams(self, packed: BatchPlan) -> int:
        """0: a model in memory needs no files beside its states."""
        return 0

    def states(
        self, tokens: Tokens, packed: BatchPlan, streams: Path
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        """Yields each batch and its final hidden states, [B, T, E]; `streams` is not used."""
        with progress(len(tokens), "states", "text") as bar:
            for batch in batches(tokens, packed):
                yield batch, np.asarray(self._reference.read(batch).states)
                bar.update(len(batch.text))


def kept_reference(
    path: Path, source: StatesSource, tokens: Tokens, packed: BatchPlan, *, bits: int, budget: int
) -> KeptReference:
    """The reference by its states in a file, which is written if it is not there.

    Args:
      path: the file, .npy; its name says all that the states depend on.
      source: the model, which may go when this is done.
      tokens: what is scored.
      packed: the plan of its batches.
      bits: 32, or 16: bfloat16 if the states are computed in it, else float16; 0: as computed.
      budget: the most bytes that the file may take, with other files that are there meanwhile.

    Raises InputError for a file that would be larger, a full disk, states that 16 bits do not hold,
    and a file of another shape.
    """
    start_N1 = np.concatenate([[0], np.cumsum(tokens.num_scored, dtype=np.int64)])
    unembedding, computed = source.unembedding, source.states_dtype
    E = unembedding.head_VE.shape[1]
    kept = _kept_dtype(computed, bits)
    shape = int(start_N1[-1]), E
    size = shape[0] * E * kept.itemsize
    if (most := size + source.num_bytes_of_streams(packed)) > budget:
        raise InputError(
            f"the reference's states take {byte_text(most)}; allow as much, or keep fewer bits",
            field="states_budget",
            value=byte_text(budget),
        )
    # A format for numbers that NumPy knows; bfloat16 is kept as its bits.
    stored = np.dtype(np.uint16) if kept == ml_dtypes.bfloat16 else kept

    def write(file: BinaryIO) -> None:
        header = {"descr": stored.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        begin = file.tell()
        for batch, states_BTE in source.states(tokens, packed, path):
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

    if not path.exists():
        write_atomic(path, write)
    try:
        states_ME = np.load(path, mmap_mode="r" if size else None, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged; delete it and compare again: {error}") from error
    if states_ME.shape != shape or states_ME.dtype != stored:
        raise InputError(f"{path}: holds other states than it should; delete it")
    return KeptReference(
        states_ME.view(kept), start_N1[:-1], computed, unembedding, source.vocabulary
    )


def _kept_dtype(computed: np.dtype, bits: int) -> np.dtype:
    if bits == 32:
        return np.dtype(np.float32)
    if bits == 0 or computed.itemsize == 2:
        return computed
    return np.dtype(np.float16)


def _of_texts(batch: Batch, states_BTE: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    places = zip(batch.text, batch.row, batch.first, batch.stop, strict=True)
    for text, row, first, stop in places:
        yield int(text), states_BTE[row, first:stop]
