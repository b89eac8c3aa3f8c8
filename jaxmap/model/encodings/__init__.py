"""Encodings of weights in memory, one file per encoding, independent of the file format."""

from __future__ import annotations

from jaxmap.model.encodings.base import LayerEncoding
from jaxmap.model.encodings.four_bit import FourBit
from jaxmap.model.encodings.int8 import Int8

# The encodings into which a model in memory can be quantised (`checkpoint.quantize`), by name.
LAYERS: dict[str, LayerEncoding] = {
    one.name: one for one in (Int8(), FourBit("nf4"), FourBit("fp4"))
}
