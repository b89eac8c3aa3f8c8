"""Facts about the storage of a model's weights: format, bytes, bits per weight."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Storage:
    """The storage of weights in a checkpoint's files, or in a quantised copy in memory.

    Fields:
      format: its name in tables: "float16", "gptq-4bit", "int8", "gguf", "bfloat16+lora", ...
      num_bytes: the bytes of the text model's weights in files, or of a copy's arrays.
      num_parameters: the number of weights in them.
      file_type: the file type of a format that has several, such as GGUF's Q4_K_M; "" for others.
      bits: the bits of a code of most matrices; None for floats of 16 bits or more.
    """

    format: str
    num_bytes: int
    num_parameters: int
    file_type: str = ""
    bits: int | None = None

    @property
    def bits_per_weight(self) -> float:
        """Bits per weight, including scales, zeros and tensors that are not quantised."""
        return 8 * self.num_bytes / self.num_parameters

    @property
    def facts(self) -> dict[str, Any]:
        """The facts as JSON values for a record, without empty ones."""
        return {
            "format": self.format,
            "num_bytes": self.num_bytes,
            **({"file_type": self.file_type} if self.file_type else {}),
            **({"bits": self.bits} if self.bits is not None else {}),
        }


def bits_of_file_type(file_type: str) -> int | None:
    """The bits in the name of a file type: 4 for Q4_K_M and IQ4_XS; None for F16 and others."""
    if match := re.match(r"I?Q(\d)_|TQ(\d)_", file_type):
        return int(match[1] or match[2])
    return 4 if file_type.startswith(("MXFP4", "NVFP4")) else None
