"""What the name of a GGUF file says: the model and the type in which its weights are stored."""

from __future__ import annotations

import re

SUFFIX = ".gguf"
_PART = re.compile(r"-\d{5}-of-\d{5}$")
# Q4_0, Q8_0, Q4_K_M, IQ4_XS, Q5_K_XL; TQ1_0; floats; MXFP4_MOE. Some publishers put a word before
# it, as UD-Q4_K_XL.
_TYPE = re.compile(
    r"[-._](?:(?:UD|imat|i1)[-._])?"
    r"(?P<type>I?Q\d_(?:\d|K|NL|XXS|XS|S|M|XL)(?:_[A-Z]{1,3}|_\d+){0,3}|TQ\d_0|BF16|FP?(?:16|32)"
    r"|(?:MX|NV)FP4(?:_MOE)?)$",
    re.IGNORECASE,
)


def split_file_name(name: str) -> tuple[str, str]:
    """The model's name and the file type of a file's name, such as Q4_K_M.

    The name of anything else than a GGUF file is returned as it is, with "". The type is in capital
    letters; "" where the name does not say it.
    """
    if not name.lower().endswith(SUFFIX):
        return name, ""
    stem = _PART.sub("", name[: -len(SUFFIX)])
    found = _TYPE.search(stem)
    if found is None or not stem[: found.start()]:
        return stem or name, ""
    return stem[: found.start()], found["type"].upper()
