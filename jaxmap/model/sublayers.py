"""The mixers and MLPs that a layer may consist of, by the names that a `Kind` gives them."""

from __future__ import annotations

from jaxmap.model.mixers.after_shared import SharedThenScan, SharedThenSsd
from jaxmap.model.mixers.attention import Attention
from jaxmap.model.mixers.convolved_attention import ConvolvedAttention
from jaxmap.model.mixers.delta import GatedDelta
from jaxmap.model.mixers.differential import DifferentialAttention
from jaxmap.model.mixers.kimi_delta import KimiDelta
from jaxmap.model.mixers.latent import LatentAttention
from jaxmap.model.mixers.lightning import LightningAttention
from jaxmap.model.mixers.mlstm import MatrixLstm
from jaxmap.model.mixers.rglru import RecurrentUnit
from jaxmap.model.mixers.routed_attention import RoutedAttention
from jaxmap.model.mixers.rwkv import ChannelMix, TimeMix
from jaxmap.model.mixers.selective_scan import SelectiveScan, SelectiveScanOfHeads
from jaxmap.model.mixers.short_conv import GatedShortConv
from jaxmap.model.mixers.ssd import StateSpaceDuality
from jaxmap.model.mixers.two_mixers import TwoMixers
from jaxmap.model.mlps.dense import Mlp
from jaxmap.model.mlps.dense_and_experts import DenseAndExperts
from jaxmap.model.mlps.experts import RoutedExperts
from jaxmap.model.mlps.shortcut_experts import ShortcutExperts
from jaxmap.model.sublayer import Sublayer

# The values of Kind.mixer and Kind.mlp. Each class says itself what it supports.
MIXERS: dict[str, type[Sublayer]] = {
    "attention": Attention,
    "attention+ssd": TwoMixers,
    "convolved_attention": ConvolvedAttention,
    "delta": GatedDelta,
    "differential": DifferentialAttention,
    "kimi_delta": KimiDelta,
    "latent": LatentAttention,
    "lightning": LightningAttention,
    "mlstm": MatrixLstm,
    "rglru": RecurrentUnit,
    "routed_attention": RoutedAttention,
    "selective_scan": SelectiveScan,
    "selective_scan_of_heads": SelectiveScanOfHeads,
    "shared+selective_scan_of_heads": SharedThenScan,
    "shared+ssd": SharedThenSsd,
    "short_conv": GatedShortConv,
    "ssd": StateSpaceDuality,
    "time_mix": TimeMix,
}
MLPS: dict[str, type[Sublayer]] = {
    "channel_mix": ChannelMix,
    "dense": Mlp,
    "dense+experts": DenseAndExperts,
    "experts": RoutedExperts,
    "shortcut_experts": ShortcutExperts,
}


def quantisable(part: str) -> bool:
    """Whether layers of this Kind.mixer or Kind.mlp can hold their weights in 8 or 4 bit."""
    return part == "none" or (MIXERS | MLPS)[part].quantisable
