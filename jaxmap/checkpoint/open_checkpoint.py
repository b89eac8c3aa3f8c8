"""A checkpoint whose files are open but not read, and the model that is made of it."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from jaxmap.checkpoint.account import Assignment
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.coded_weights import CodedDecoder, coded_decoder
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.checkpoint.storage import Storage
from jaxmap.model import decoder
from jaxmap.model.encodings.codes import Int8Rows
from jaxmap.model.mesh import Axes, axes_of
from jaxmap.model.padding import padded_spec
from jaxmap.model.spec import Spec
from jaxmap.precision import PRECISIONS, default_dtype

# A stored tensor that was read: its key, which does not depend on the file format, and its numbers
# as stored.
Tensor = tuple[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Model:
    """A decoder in memory.

    Fields:
      spec: its architecture.
      graph, params: `nnx.merge(graph, params)` is the `Decoder`.
      dtype: its precision, a key of PRECISIONS.
      stored_dtype: the dtype of most weights on disk.
      model_type: the model_type of config.json.
      num_parameters: the number of weights.
      storage: the storage of the weights in files, or in memory for a quantised copy.
      quantisation: the quantisation of its linear layers, one of QUANTISATIONS.
      mesh: the devices, if there are several; graph and params are then padded
        (`padding.padded_spec`).
      in_codes: whether linear layers are stored in memory in the codes of the file.
    """

    spec: Spec
    graph: nnx.GraphDef
    params: nnx.State
    dtype: str
    stored_dtype: str
    model_type: str
    num_parameters: int
    storage: Storage
    quantisation: str = "none"
    mesh: Mesh | None = None
    in_codes: bool = False

    @property
    def num_layers(self) -> int:
        """L, so that layers of the lens are 0 to L."""
        return self.spec.L

    @property
    def context(self) -> int | None:
        """The most ids of a text; None: no limit."""
        return self.spec.context

    @property
    def dense_up_to(self) -> int | None:
        """See `Spec.dense_up_to`."""
        return self.spec.dense_up_to


@dataclasses.dataclass(frozen=True)
class Opened:
    """A checkpoint whose files are open and whose tensors are all accounted for, but not read.

    Fields:
      checkpoint: the folder.
      spec: the architecture; the tensors have decided whether the head is tied.
      assignments: the assignments of the parameters.
      tensors: the tensors of the files, by name.
      other_bytes: the bytes of tensors that are not part of the text model, such as vision.
    """

    checkpoint: Checkpoint
    spec: Spec
    assignments: Sequence[Assignment]
    tensors: Mapping[str, Stored]
    other_bytes: int = 0

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.checkpoint.name

    @property
    def stored_dtype(self) -> str:
        """The dtype of most of the stored numbers (`Stored.float_dtype`)."""
        sizes: Counter[str] = Counter()
        for name in {name for assignment in self.assignments for name in assignment.names}:
            sizes[self.tensors[name].float_dtype.name] += math.prod(self.tensors[name].shape)
        return sizes.most_common(1)[0][0]

    def dtype(self, asked: str) -> str:
        """The precision in which to load it; "auto" stands for `default_dtype`."""
        if asked != "auto":
            return asked
        return default_dtype(jax.default_backend(), self.stored_dtype)

    def groups(self) -> list[tuple[tuple[str, ...], list[Assignment]]]:
        """The stored tensors in the order of reading, with the parameters that they fill.

        The parts of a fused tensor are read together.
        """
        together: dict[tuple[str, ...], list[Assignment]] = {}
        for assignment in self.assignments:
            together.setdefault(assignment.names, []).append(assignment)
        return list(together.items())

    def stored(self) -> dict[str, Stored]:
        """The stored tensors from which the parameters are read, each once, by key.

        Buffers, and the second of two tied tensors, are not included.
        """
        return {
            f"{group[0].path}[{i}]": self.tensors[name]
            for names, group in self.groups()
            for i, name in enumerate(names)
        }

    def read(self) -> Iterator[Tensor]:
        """Reads each stored tensor once, in the order that `load` needs."""
        for key, one in self.stored().items():
            yield key, one.read()

    def dtypes(self, dtype: str) -> dict[str, np.dtype]:
        """The dtype of each parameter on the devices, by path, in a precision of PRECISIONS."""
        _, leaves = leaves_of(self.spec, dtype)
        kinds = {path: np.dtype(leaf.dtype) for path, leaf in leaves.items()}
        if not PRECISIONS[dtype].weights:
            # Kernels keep the dtype in which they are stored, the widest of their tensors.
            for assignment in self.assignments:
                if assignment.path.endswith("/kernel") or assignment.path in ("embed", "head"):
                    stored = {self.tensors[name].float_dtype for name in assignment.names}
                    kinds[assignment.path] = np.dtype(jnp.result_type(*stored))
        return kinds

    def in_codes(self, dtype: str, axes: Axes | None = None) -> CodedDecoder | None:
        """The structure with layers in the codes of the file; None where there are none."""
        activations = jnp.dtype(PRECISIONS[dtype].activations)
        return coded_decoder(
            self.spec, self.padded_spec(axes), activations, self.groups(), self.tensors
        )

    @property
    def quantises_activations(self) -> bool:
        """Whether layers in codes do what layers of floats cannot, as LLM.int8() does."""
        coded = (one.codes for one in self.tensors.values())
        return any(one is not None and isinstance(one.meaning, Int8Rows) for one in coded)

    def padded_spec(self, axes: Axes | None) -> Spec:
        """The spec of what the devices of a mesh hold."""
        return self.spec if axes is None else padded_spec(self.spec, axes)

    def model(
        self,
        dtype: str,
        arrays: Mapping[str, Any],
        mesh: Mesh | None = None,
        coded: CodedDecoder | None = None,
    ) -> Model:
        """The model with these arrays, by path, which may be shapes only."""
        axes = None if mesh is None else axes_of(mesh)
        graph, leaves = leaves_of(self.padded_spec(axes), dtype)
        if coded is not None:
            graph, leaves = coded.graph, coded.leaves
        params = decoder.from_named({p: leaf.replace(arrays[p]) for p, leaf in leaves.items()})
        count = sum(math.prod(assignment.shape) for assignment in self.assignments)
        kind = self.checkpoint.architecture.model_type
        stored, storage = self.stored_dtype, self.storage(count)
        return Model(
            *(self.spec, graph, params, dtype, stored, kind, count, storage),
            mesh=mesh,
            in_codes=coded is not None,
        )

    def storage(self, num_parameters: int) -> Storage:
        """The storage of the text model's weights in the files."""
        one, parts = self.checkpoint, self.other_bytes
        return Storage(
            (one.encoding or self.stored_dtype) + ("+lora" if one.has_adapter else ""),
            one.num_bytes - parts,
            num_parameters,
            one.file_type,
            one.bits,
        )


@functools.lru_cache(maxsize=4)  # few architectures at a time are in use
def leaves_of(spec: Spec, dtype: str) -> tuple[nnx.GraphDef, dict[str, nnx.Variable]]:
    """The structure of a decoder of floats, and its parameters' shapes by path."""
    graph, shapes = decoder.abstract(spec, jnp.dtype(PRECISIONS[dtype].activations))
    return graph, decoder.named(shapes)
