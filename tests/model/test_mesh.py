"""One model over many devices gives the scores of one device, whatever divides what."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from support import containers
from support.cases.classic import CASES as CLASSIC
from support.cases.core import CASES
from support.cases.experts import CASES as EXPERTS
from support.cases.gemmas import CASES as GEMMAS
from support.on_devices import all_cases, here

from jaxmap.architectures.registry import families
from jaxmap.engine.placement import mesh_for
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import Alibi, QkNorm
from jaxmap.model.layer_kind import Kind
from jaxmap.model.mesh import Axes, make, parse
from jaxmap.model.padded_axis import PaddedAxis, padded_axis
from jaxmap.model.padding import padded_spec
from jaxmap.model.spec import Spec

NATS = 1e-4  # a text
SHAPES = ["data=8", "data=4,model=2", "data=2,model=4", "model=8"]

# 15 query heads in 5 groups, 97 vocabulary entries, 53 MLP channels: nothing divides.
# Experts beside a dense MLP.
BESIDE = {
    **GEMMAS["gemma4_text-26b"],
    "num_hidden_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"],
}
GROUPS = {**CASES["llama"], "num_attention_heads": 15, "num_key_value_heads": 5, "head_dim": 6}
GROUPS |= {"intermediate_size": 53, "num_hidden_layers": 2, "attention_bias": True}
DIVIDES = {**GROUPS, "num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": 96}
DIVIDES |= {"intermediate_size": 56}
# Rows of whole blocks of 64, so that 4-bit codes are cut too.
BLOCKS = {**DIVIDES, "hidden_size": 128, "head_dim": 8, "intermediate_size": 192}


def check(found: list[list]) -> None:
    for variant, mesh, worst, largest in found:
        assert worst <= NATS, f"{variant} on {mesh}: {worst} nats"
        assert largest > 50, "a model that says nothing proves nothing"


# Scores -----------------------------------------------------------------------------------------


def test_every_shape_of_mesh():
    check(here("differences", GROUPS, [*SHAPES, "data=2,fsdp=2,model=2", "fsdp=8"]))


@pytest.mark.parametrize(
    ("config", "mesh"),
    [
        (EXPERTS["mixtral"], "data=2,model=4"),  # 5 experts
        (BESIDE, "data=2,model=4"),
        (EXPERTS["deepseek_v2"], "model=8"),  # latent attention, shared experts, dense layers
        (CLASSIC["bloom"], "model=8"),  # ALiBi, heads in blocks of one tensor, fewer than devices
        ({**GROUPS, "num_attention_heads": 6, "num_key_value_heads": 2}, "data=2,model=4"),
    ],
    ids=["mixtral", "gemma4_text", "deepseek_v2", "bloom", "a-head-more-in-every-group"],
)
def test_awkward_families(config, mesh):
    check(here("differences", config, [mesh]))


def test_lens_and_quantised_copies():
    check(here("differences", GROUPS, ["data=2,model=4"], ["none"], True))
    check(here("differences", GROUPS, ["data=2,fsdp=2,model=2"], ["int8", "nf4"]))


def test_four_bit_codes_are_cut_by_rows():
    found = here("four_bit", BLOCKS, "data=2,model=4")
    check([found["difference"]])
    assert found["own"] == found["all"] / 4


def test_layers_in_the_codes_of_a_file():
    check(here("in_codes", ["gptq", "bnb-int8"], "data=2,fsdp=2,model=2"))


@pytest.mark.slow
def test_layers_in_the_codes_of_every_kind_of_file():
    check(here("in_codes", ["awq", "fp8-block", "fp8-row", "nvfp4", "bnb-nf4"], "data=2,model=4"))
    check(here("in_codes", ["pack-quantized-8", "int-quantized"], "data=1,model=3"))
    check(here("in_codes", ["gguf"], "data=2,model=4"))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["int8", "nf4"])
def test_quantised_experts_and_fused_tensors(variant):
    for config in (EXPERTS["mixtral"], CASES["gpt2"], CLASSIC["bloom"]):
        check(here("differences", config, ["data=2,model=4"], [variant]))


def _plain() -> list[str]:
    """One configuration of each family, by name."""
    first: dict[str, str] = {}
    for name, config in all_cases().items():
        # What is around a language model changes nothing about how it is held.
        if families()[config["model_type"]].around is None:
            first.setdefault(config["model_type"], name)
    return list(first.values())


def test_no_family_is_left_out():
    cases = all_cases()
    around = {*containers.INSIDE, *containers.RENAMED}  # whose language model is a case of its own
    assert {config["model_type"] for config in cases.values()} == set(families()) - around


@pytest.mark.parametrize("part", range(4))
def test_every_family(part):
    names = _plain()[part::4]
    meshes = [*SHAPES[1:], "data=2,fsdp=2,model=2"]
    # Most of the time is the compiler's: it need not try hard.
    found = here("families", meshes, names, xla="--xla_backend_optimization_level=0")
    assert set(found) == set(names)
    check(list(found.values()))


# What the devices hold, read and say --------------------------------------------------------------


def test_nothing_but_partial_sums_is_exchanged():
    """No weights, no logits, and nothing at all between pieces of a batch."""
    assert here("collectives", GROUPS, "data=8") == []
    found = here("collectives", GROUPS, "data=2,model=4", True)
    shapes = {shape.split("{")[0] for kind, shape in found}
    assert {kind for kind, _ in found} == {"all-reduce"}
    # Of a piece's 128 tokens: rows of the residual stream, and numbers a token (some in tuples).
    assert {shape.removeprefix("(") for shape in shapes} == {"f32[1,128,40]", "f32[128]"}


def test_weights_are_gathered_a_layer_at_a_time():
    found = here("collectives", DIVIDES, "fsdp=8")
    assert {kind for kind, _ in found} == {"all-gather"}
    assert all(not shape.startswith("f32[2,40") for _, shape in found)  # both layers' at once
    # What "model" cuts stays cut: a quarter of the vocabulary's 96 rows.
    shapes = {shape.split("{")[0] for kind, shape in here("collectives", DIVIDES, "fsdp=2,model=4")}
    assert "f32[24,40]" in shapes
    assert not any(shape.startswith("f32[96") for shape in shapes)


def test_each_number_is_read_once():
    found = here("reads", GROUPS, ["data=8", "data=4,model=2", "data=2,fsdp=2,model=2"])
    replicated = found["read"].pop("data=4,model=2")
    assert set(found["read"].values()) == {found["parameters"]}
    # 2 pieces of what is cut, the rest (norms, biases of the width) as it is needed.
    assert found["parameters"] == replicated


def test_auto_takes_the_smallest_model_axis_that_fits():
    found = here("fitting", GROUPS)
    assert found["need"]["1"] > found["need"]["2"]
    assert "more devices" in found["chosen"].pop("none")
    by_memory = {"any": SHAPES[0], "1": SHAPES[0], "2": SHAPES[1]}
    # Modelled seconds of a batch of each cut: with half as many groups a batch must take less than
    # half the time.
    by_cost = {"dearer": SHAPES[0], "cheaper": SHAPES[1], "unknown": SHAPES[0]}
    assert found["chosen"] == by_memory | by_cost


def test_converted_parameters_move_to_other_meshes():
    worst = here("restored", DIVIDES, "data=4,model=2", ["data=2,model=4", "fsdp=2,model=4"])
    assert max(worst) <= NATS


# One device -------------------------------------------------------------------------------------


def test_one_device_has_no_mesh():
    spec = Spec(L=1, D=8, H=2, G=2, C=4, F=8, V=97, context=64)
    assert jax.device_count() == 1
    assert [mesh_for(text, spec, "float32") for text in (None, "auto", "data=1")] == [None] * 3
    assert padded_spec(spec, Axes(data=8, fsdp=2)) is spec
    with pytest.raises(InputError, match=r"mesh=data=4,model=2: 8 devices, but there are 1"):
        make(Axes(data=4, model=2))


@pytest.mark.parametrize("text", ["", "data", "data=0", "data=2,data=2", "rows=2", "model=x"])
def test_meshes_that_are_refused(text):
    with pytest.raises(InputError, match=r"^mesh="):
        parse(text)


def test_meshes_that_are_understood():
    assert parse("auto") is None
    assert parse("model=2, data=4") == Axes(4, 1, 2)
    assert [str(Axes(4, 1, 2)), str(Axes()), str(Axes(fsdp=2))] == [
        "data=4,model=2",
        "data=1",
        "fsdp=2",
    ]


# Padding ----------------------------------------------------------------------------------------

_SPEC = Spec(L=2, D=40, H=15, G=5, C=4, F=53, V=97, context=64)


@pytest.mark.parametrize(
    ("H", "G", "m", "padded_H", "padded_G"),
    [
        (15, 5, 2, 18, 6),  # a group more
        (15, 5, 8, 24, 8),
        (71, 1, 8, 72, 1),  # a head more in the one group
        (16, 4, 8, 16, 4),  # two devices a group
        (12, 4, 8, 16, 4),  # a head more in every group
        (16, 8, 4, 16, 8),
        (6, 2, 4, 8, 2),
    ],
)
def test_heads_are_padded_where_groups_stay_together(H, G, m, padded_H, padded_G):
    own = padded_spec(dataclasses.replace(_SPEC, H=H, G=G), Axes(model=m))
    assert padded_H == own.H
    assert padded_G == own.G
    assert (own.F, own.padded_V, own.V) == (-(-53 // m) * m, -(-97 // m) * m, 97)


def test_what_is_not_padded():
    norm = QkNorm("all", "rms", 1e-6)
    kinds = (Kind(G=5), Kind(G=3))
    for change in (dict(qk_norm=norm), dict(kinds=kinds), dict(kinds=(Kind("rglru"),) * 2)):
        own = padded_spec(dataclasses.replace(_SPEC, **change), Axes(model=2))
        assert (own.H, own.G) == (15, 5)
    # 53 and 54 channels would both become 54: one stack where there are two.
    widths = dataclasses.replace(_SPEC, kinds=(Kind(F=53), Kind(F=54)))
    assert padded_spec(widths, Axes(model=2)).kinds == widths.kinds


def test_slopes_go_with_their_heads():
    slopes = tuple(float(i + 1) for i in range(15))
    spec = dataclasses.replace(_SPEC, alibi=Alibi(slopes))
    own = padded_spec(spec, Axes(model=2))
    assert own.alibi is not None
    assert own.alibi.slopes == (*slopes, 0.0, 0.0, 0.0)
    wide = padded_spec(dataclasses.replace(spec, H=15, G=1), Axes(model=4)).alibi
    assert wide is not None
    assert wide.slopes == (*slopes, 0.0)


@pytest.mark.parametrize(
    "how", [PaddedAxis(5, 3, 6, 3), PaddedAxis(4, 3, 4, 4), PaddedAxis(1, 7, 1, 8)]
)
def test_padding_can_be_taken_off(how):
    x = np.random.default_rng(0).normal(size=(2, how.groups * how.each, 3))
    padded = how.pad(x, 1)
    assert padded.shape[1] == how.padded
    np.testing.assert_array_equal(how.trim(padded, 1), x)
    np.testing.assert_array_equal(padded[:, how.origins >= 0], x)
    assert not padded[:, how.origins < 0].any()


def test_every_axis_finds_its_place():
    own = padded_spec(_SPEC, Axes(model=2))
    assert padded_axis("h", 15, 18, _SPEC, own) == (5, 3, 6, 3)
    assert padded_axis("g", 5, 6, _SPEC, own) == (1, 5, 1, 6)
    assert padded_axis(" ", 40, 40, _SPEC, own) == (1, 40, 1, 40)
