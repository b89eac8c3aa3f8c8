"""GGUF files whose layers stay in their blocks: the same weights and scores, as few bytes."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from support.checkpoints import V, add_tokenizer, make_checkpoint
from support.gguf_files import WIDE, converted, made_of, write_gguf

from jaxmap.benchmarking.programs import as_tokens
from jaxmap.checkpoint import weights
from jaxmap.checkpoint.refs import parse_ref
from jaxmap.checkpoint.sources.files import fetch, resolve
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens
from jaxmap.errors import InputError
from jaxmap.model.encodings.blocks import BlockExperts, BlockMatrix
from jaxmap.model.encodings.dequantised import DequantisedLinear

GPT = dict(vocab_size=V, n_embd=256, n_layer=2, n_head=4, n_positions=256, n_inner=256)
CONFIGS: dict[str, dict[str, Any]] = {
    "rows of heads": dict(WIDE, model_type="llama"),
    "transposed": dict(GPT, model_type="gpt2"),
    "heads in turn": dict(
        model_type="bloom", vocab_size=V, hidden_size=256, n_layer=2, n_head=4, seq_length=256,
        layer_norm_epsilon=1e-5,
    ),
    "fused": dict(WIDE, model_type="phi3", sliding_window=16, pad_token_id=0),
    "experts": dict(WIDE, model_type="mixtral", num_local_experts=4, num_experts_per_tok=2),
}  # fmt: skip
SCORERS = Scorers()


def scores_of(model: weights.Model) -> np.ndarray:
    random = np.random.default_rng(0)
    ids = [random.integers(0, model.spec.V, length, np.int32) for length in (40, 3, 21)]
    return score_tokens(SCORERS.of(model), model, as_tokens(ids))


SLOW = {"heads in turn", "fused"}
EACH = [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in CONFIGS]


@pytest.mark.parametrize("name", EACH)
def test_scores_are_those_of_floats(name, tmp_path):
    folder = made_of(tmp_path, CONFIGS[name])
    model = weights.load(folder, dtype="float32", in_codes=True)
    module = nnx.merge(model.graph, model.params)
    kinds = [type(one) for _, one in nnx.iter_modules(module)]
    assert kinds.count(DequantisedLinear) >= 4
    assert kinds.count(BlockExperts) == (3 if name == "experts" else 0)
    floats = weights.load(folder, dtype="float32")
    ours_N, theirs_N = scores_of(model), scores_of(floats)
    assert np.ptp(theirs_N) > 50
    np.testing.assert_allclose(ours_N, theirs_N, rtol=0, atol=2e-3)
    # Another order of the rows is seen.
    leaves = dict(nnx.to_flat_state(model.params))
    for path in leaves:
        if path[-1] == "blocks":
            leaves[path] = leaves[path].replace(leaves[path][...][..., ::-1, :])
    turned = nnx.from_flat_state(leaves)
    other_N = scores_of(dataclasses.replace(model, params=turned))
    assert np.abs(other_N - theirs_N).max() > 2e-2


def test_weights_and_bytes_of_layers_of_several_types(tmp_path):
    folder = made_of(tmp_path, CONFIGS["rows of heads"])
    with weights.opened(folder) as found:
        model = weights.load(found, dtype="float32", in_codes=True)
        shapes = weights.shapes(found, "float32", in_codes=True)
        module = nnx.merge(model.graph, model.params)
        names = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj",
                 "o": "self_attn.o_proj", "gate": "mlp.gate_proj", "up": "mlp.up_proj",
                 "down": "mlp.down_proj"}  # fmt: skip
        seen, held, stored = [], 0, 0
        for path, one in nnx.iter_modules(module):
            if not isinstance(one, BlockMatrix):
                continue
            graph, state = nnx.split(one)
            floats = jax.lax.map(lambda layer, graph=graph: nnx.merge(graph, layer)(), state)
            part = path[3] if path[2] == "attn" else path[-2]
            seen.append((part, one.meaning.kinds))
            for layer, values in enumerate(np.asarray(floats)):
                tensor = found.tensors[f"model.layers.{layer}.{names[part]}.weight"]
                want = tensor.read().astype(np.float32)
                np.testing.assert_array_equal(values, want, err_msg=f"{part} {layer}")
                stored += tensor.file_bytes
            held += one.blocks[...].nbytes
    assert dict(seen) == {
        "q": ("Q4_K",), "k": ("F16", "Q4_K"), "v": ("Q4_K", "Q6_K"), "o": ("Q4_K",),
        "gate": ("Q4_K",), "up": ("Q4_K",), "down": ("Q4_K", "Q6_K"),
    }  # fmt: skip
    # Rows are as long as those of the widest type: twice a Q6_K's of three, twice a half's.
    row = {"Q4_K": 144, "Q6_K": 210, "F16": 512}
    extra = 2 * (256 + 128) * (row["Q6_K"] - row["Q4_K"]) + 2 * 128 * (row["F16"] - row["Q4_K"])
    assert held == stored + extra

    def facts(params: nnx.State) -> list[tuple]:
        return [(path, leaf.shape, leaf.dtype) for path, leaf in nnx.to_flat_state(params)]

    assert shapes.graph == model.graph
    assert facts(shapes.params) == facts(model.params)


def test_types_without_a_layer_of_their_own_are_floats(tmp_path):
    """And those of gpt-oss 16 bits, which hold them exactly."""
    folder = made_of(tmp_path / "grid", CONFIGS["rows of heads"], kind="IQ3_S")
    assert not weights.load(folder, dtype="float32", in_codes=True).in_codes
    folder = made_of(tmp_path / "plain", CONFIGS["rows of heads"], kind="F16")
    assert not weights.load(folder, dtype="float32", in_codes=True).in_codes
    folder = made_of(tmp_path / "short", CONFIGS["rows of heads"], kind="MXFP4")
    with weights.opened(folder) as found:
        assert found.tensors["model.layers.0.mlp.up_proj.weight"].dtype == "bfloat16"


@pytest.mark.parametrize("kind", ["Q5_K", "Q8_0"])
def test_scales_that_are_no_numbers(kind, tmp_path):
    source = make_checkpoint(tmp_path / "hf", CONFIGS["rows of heads"], spread=0.05)
    path = tmp_path / "gguf" / "model.gguf"
    write_gguf(path, *converted(source), kind=kind)
    add_tokenizer(path.parent)
    from gguf import GGUFReader

    [bad] = [one for one in GGUFReader(path).tensors if one.name == "blk.1.ffn_up.weight"]
    content = bytearray(path.read_bytes())
    content[bad.data_offset : bad.data_offset + 2] = np.float16(np.inf).tobytes()
    path.write_bytes(content)
    folder = fetch(resolve(parse_ref(str(path)))).folder
    for in_codes in (True, False):
        with pytest.raises(InputError, match=r"NaN or infinite weights in .*(ffn_up|mlp.up_proj)"):
            weights.load(folder, dtype="float32", in_codes=in_codes)
