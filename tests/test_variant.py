from __future__ import annotations

import itertools

import pytest

from jaxmap.errors import InputError
from jaxmap.precision import PRECISIONS
from jaxmap.variant import ENGINES, QUANTISATIONS, TUNED, Variant, parse_quantisations

EVERY = [
    Variant(precision, quantisation, layer, lens, engine)
    for precision, quantisation, layer, lens, engine in itertools.product(
        ("auto", *PRECISIONS), QUANTISATIONS, (None, 0, 7, 123), ("", "logit", TUNED), ENGINES
    )
]


@pytest.mark.parametrize(
    ("variant", "label"),
    [
        (Variant(), ""),
        (Variant("bfloat16"), "+bfloat16"),
        (Variant("bfloat16_3x", "fp4"), "+bfloat16_3x+fp4"),
        (Variant(layer=3), "#layer03"),
        (Variant("float32", layer=100, lens="0" * 64), "+float32+tuned#layer100"),
        (Variant(lens="logit"), "#lens"),
        (Variant(engine="torch"), "+torch"),
        (Variant("bfloat16", "nf4", 2, engine="torch"), "+bfloat16+nf4+torch#layer02"),
        (Variant(quantisation="int8", lens="0" * 64), "+int8+tuned#lens"),
    ],
)
def test_labels(variant, label):
    assert variant.label == label
    assert Variant.parse(f"a/b+c@step1{label}") == ("a/b+c@step1", variant.of_any_lens)


def test_a_label_reads_back_as_its_variant():
    for variant in EVERY:
        assert Variant.parse(f"org/name{variant.label}") == ("org/name", variant)
    assert len({variant.label for variant in EVERY}) == len(set(EVERY))


def test_what_is_no_variant_stays_in_the_name():
    for name in ("org/c++", "org/a+b", "run#1", "org/x+int9", "a+int8+bfloat16#layer"):
        assert Variant.parse(name) == (name, Variant())


def test_kinds():
    plain = [v for v in EVERY if v.is_plain]
    assert set(plain) == {
        Variant(lens=lens, engine=engine) for lens in ("", "logit", TUNED) for engine in ENGINES
    }
    assert {v.precision for v in EVERY if v.is_own_output} == {"auto", *PRECISIONS}
    assert all(v.is_output != v.is_layer for v in EVERY)
    assert {v.lens for v in EVERY if v.is_own_layer} == {"logit"}
    assert Variant(layer=0).lens == "logit"


def test_order():
    labels = ["", "#layer00", "#layer10", "+float16", "+float16#layer02", "+fp4", "+int8"]
    mixed = [labels[i] for i in (4, 1, 6, 0, 2, 5, 3)]
    assert sorted(mixed, key=lambda text: Variant.parse(text)[1].order) == labels


def test_quantisations():
    assert parse_quantisations(["int8", "none", "int8"]) == ("int8", "none")
    for names in (["int5"], []):
        with pytest.raises(InputError, match="known: none, int8, nf4, fp4") as caught:
            parse_quantisations(names)
        assert caught.value.field == "quantize"
