"""StableLM-Alpha v2 against an oracle."""

from __future__ import annotations

from support.parity import compare
from support.stablelm_alpha import CONFIG, StableLmAlpha

from jaxmap.architectures.config import Config
from jaxmap.architectures.registry import family_of
from jaxmap.architectures.specs import spec_of


def test_parity(tmp_path):
    reference = StableLmAlpha()
    reference.save(tmp_path)
    compare(reference, tmp_path, lens=True)


def test_numbers_of_parameters_are_those_published():
    """Stability AI counted each layer norm twice, once for each of two devices, and two a layer."""
    for D, published in ((2560, 2_796_431_360), (4096, 6_890_209_280)):
        sizes = dict(hidden_size=D, num_hidden_layers=32, num_heads=32, vocab_size=50_432)
        config = Config({**CONFIG, **sizes}, "config.json")
        spec = spec_of(config)
        assert family_of(config).rows(spec)
        linear = 4 * D * D + 3 * D * spec.F
        assert 32 * linear + 2 * spec.V * D + 2 * (2 * 32 + 1) * 2 * D == published
