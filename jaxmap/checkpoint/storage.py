"""How a model's weights are stored: in which format, in how many bytes, in how many bits each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Storage:
    """Of a checkpoint's files, or of a copy in memory.

    Fields:
      format: as tables call it: "float16", "gptq-4bit", "int8", "gguf", "bfloat16+lora", ...
      num_bytes: of the files with the text model's weights, or of a copy's arrays.
      num_parameters: numbers that these stand for.
      file_type: the kind of a format that has several, such as Q4_K_M of GGUF; "" for others.
      bits: of a code of most matrices; None where they are stored as floats of 16 bits or more.
    """

    format: str
    num_bytes: int
    num_parameters: int
    file_type: str = ""
    bits: int | None = None

    @property
    def bits_per_weight(self) -> float:
        """With scales, zeros and what is not quantised."""
        return 8 * self.num_bytes / self.num_parameters

    @property
    def facts(self) -> dict[str, Any]:
        """As plain values, for a record; what says nothing is left out."""
        return {
            "format": self.format,
            "num_bytes": self.num_bytes,
            **({"file_type": self.file_type} if self.file_type else {}),
            **({"bits": self.bits} if self.bits is not None else {}),
        }


def bits_of_file_type(file_type: str) -> int | None:
    """The bits that a file type is named after: 4 of Q4_K_M and IQ4_XS; None for F16 and others."""
    if match := re.match(r"I?Q(\d)_|TQ(\d)_", file_type):
        return int(match[1] or match[2])
    return 4 if file_type.startswith(("MXFP4", "NVFP4")) else None
