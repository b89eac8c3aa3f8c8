"""How the numbers of weights may be held: one file per encoding, apart from files of weights."""

from __future__ import annotations

from jaxmap.model.encodings.base import LayerEncoding
from jaxmap.model.encodings.four_bit import FourBit
from jaxmap.model.encodings.int8 import Int8

# What a model in memory can be copied to (`checkpoint.quantize`), by name.
LAYERS: dict[str, LayerEncoding] = {
    one.name: one for one in (Int8(), FourBit("nf4"), FourBit("fp4"))
}
