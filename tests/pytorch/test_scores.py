"""The engine torch against this package's decoder, and against transformers called directly."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.reference import lens_logp, make_model, text_logp

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.quantize import quantised as jax_copy
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_rows
from jaxmap.errors import InputError
from jaxmap.pytorch.loading import load
from jaxmap.pytorch.quantize import quantised
from jaxmap.pytorch.scores import score_texts

V = 97
_SHAPE = dict(
    vocab_size=V,
    hidden_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=128,
)
GPT2 = dict(model_type="gpt2", vocab_size=V, n_embd=64, n_layer=2, n_head=2, n_positions=128)
PHI = {**_SHAPE, "model_type": "phi"}  # a head with a bias
GEMMA2 = {  # tied, soft-capped
    **_SHAPE,
    **dict(model_type="gemma2", num_key_value_heads=2, head_dim=16, sliding_window=9),
    **dict(final_logit_softcapping=3.0, query_pre_attn_scalar=16),
}
RWKV = dict(model_type="rwkv", vocab_size=V, hidden_size=64, num_hidden_layers=2, context_length=64)
LONGROPE = {
    **_SHAPE,
    **dict(model_type="phi3", num_key_value_heads=2, pad_token_id=0, bos_token_id=1),
    **dict(eos_token_id=2, original_max_position_embeddings=16),
    "rope_scaling": dict(
        type="longrope",
        short_factor=[1.0 + 0.1 * i for i in range(8)],
        long_factor=[2.0 + 0.3 * i for i in range(8)],
    ),
}
# Types that only transformers computes here: positions of their own, no final norm.
NO_PAGE = {
    "ctrl": dict(
        model_type="ctrl", vocab_size=V, n_embd=64, n_layer=2, n_head=4, dff=48, n_positions=128
    ),
    "xlm": dict(model_type="xlm", vocab_size=V, emb_dim=64, n_layers=2, n_heads=4, causal=True),
    "roberta": {**_SHAPE, "model_type": "roberta", "is_decoder": True},
}
BOUND = 2e-5  # nats: sums of up to 29 tokens in float32


def tokens_of(lengths, firsts=None, seed=0) -> Tokens:
    rng = np.random.default_rng(seed)
    ids = [rng.integers(3, V, n).astype(np.int32) for n in lengths]
    firsts = np.ones(len(lengths), np.int32) if firsts is None else np.array(firsts, np.int32)
    no = np.zeros(len(lengths), bool)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Tokens(np.concatenate(ids), offsets, np.minimum(firsts, lengths), no, no)


TOKENS = tokens_of([1, 2, 9, 30, 17, 30, 5], [1, 1, 1, 1, 4, 1, 1])
BOTH = ("log_likelihood", "entropy")


def texts(tokens):
    return [tokens.ids[a:b] for a, b in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A function that makes a model once: (its folder, transformers' model)."""
    pytest.importorskip("torch")
    known = {}

    def make(config):
        name = json.dumps(config, sort_keys=True)
        if name not in known:
            folder = tmp_path_factory.mktemp(config["model_type"])
            known[name] = folder, make_model(config, folder)
        return known[name]

    return make


@pytest.mark.parametrize("config", [PHI, GEMMA2, RWKV], ids=lambda one: one["model_type"])
def test_agrees_with_the_decoder(made, config, monkeypatch):
    """Layers, statistics per text and per token; logits of at most ten tokens at a time."""
    folder, _ = made(config)
    model = load(Checkpoint(folder))
    largest = []
    real = model.structure.logits_of
    monkeypatch.setattr(
        model.structure, "logits_of", lambda state: largest.append(len(state)) or real(state)
    )
    found = score_texts(
        model, TOKENS, statistics=BOTH, per_token=True, lens=True, batch_tokens=64, block=10 * V
    )
    assert max(largest) == 10
    ours = weights.load(Checkpoint(folder), dtype="float32")
    wanted = score_rows(
        Scorers().of(ours), ours, TOKENS, statistics=BOTH, per_token=True, lens=True
    )
    for name in BOTH:
        np.testing.assert_allclose(found[name], wanted[name], atol=BOUND, rtol=1e-6)
        np.testing.assert_allclose(found.per_token[name], wanted.per_token[name], atol=BOUND)
    assert abs(np.diff(found["log_likelihood"][:, 3])).min() > 1e-2  # no two layers are alike


@pytest.mark.parametrize(
    ("config", "variant"),
    [
        pytest.param(GPT2, "int8", id="gpt2-int8"),
        pytest.param(PHI, "nf4", id="phi-nf4"),
        pytest.param(GPT2, "fp4", id="gpt2-fp4", marks=pytest.mark.slow),
    ],
)
def test_copies_agree_with_the_decoders(made, config, variant):
    """Fused tensors stored (in, out), biases, incomplete blocks; the model is as before after."""
    folder, _ = made(config)
    model = load(Checkpoint(folder))
    before = score_texts(model, TOKENS)["log_likelihood"]
    with quantised(model, variant) as (copy, places):
        found = score_texts(copy, TOKENS, places=places)["log_likelihood"]
    ours = jax_copy(weights.load(Checkpoint(folder), dtype="float32"), variant)
    wanted = score_rows(Scorers().of(ours), ours, TOKENS)["log_likelihood"]
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    assert abs(found - before).max() > 0.02
    assert copy.storage == ours.storage
    np.testing.assert_array_equal(score_texts(model, TOKENS)["log_likelihood"], before)


@pytest.mark.parametrize("name", NO_PAGE)
def test_types_without_a_page(made, name):
    folder, reference = made(NO_PAGE[name])
    model = load(Checkpoint(folder))
    found = score_texts(model, TOKENS, batch_tokens=70)["log_likelihood"]
    firsts = TOKENS.first_scored
    wanted = [text_logp(reference, ids, k) for ids, k in zip(texts(TOKENS), firsts, strict=True)]
    np.testing.assert_allclose(found, wanted, atol=BOUND)
    if name != "xlm":
        layers = score_texts(model, TOKENS, batch_tokens=70, lens=True)["log_likelihood"]
        for n, ids in enumerate(texts(TOKENS)[1:4], 1):
            np.testing.assert_allclose(layers[:, n], lens_logp(reference, ids), atol=5e-5)


def test_a_text_does_not_depend_on_its_neighbours(made):
    """Padding of any id, batches of any size: differences of rounding only."""
    model = load(Checkpoint(made(GPT2)[0]))
    alone = np.concatenate(
        [
            score_texts(model, Tokens(ids, np.array([0, len(ids)]), *rest))["log_likelihood"]
            for ids, *rest in zip(
                texts(TOKENS),
                TOKENS.first_scored[:, None],
                TOKENS.truncated[:, None],
                TOKENS.apart[:, None],
                strict=True,
            )
        ]
    )
    for batch_tokens in (1, 40, 1000):
        found = score_texts(model, TOKENS, batch_tokens=batch_tokens)["log_likelihood"]
        np.testing.assert_allclose(found, alone, atol=BOUND)


def test_rope_that_depends_on_the_length(made):
    """Short texts beside long ones keep the short factors; both engines see the same length."""
    folder, reference = made(LONGROPE)
    tokens = tokens_of([30, 9, 16, 17, 9, 30])
    model = load(Checkpoint(folder))
    assert model.structure.length_matters
    found = score_texts(model, tokens, lens=True)["log_likelihood"]
    wanted = np.array([lens_logp(reference, ids) for ids in texts(tokens)]).T
    np.testing.assert_allclose(found, wanted, atol=BOUND)
    ours = weights.load(Checkpoint(folder), dtype="float32")
    ours_RN = score_rows(Scorers().of(ours), ours, tokens, lens=True)["log_likelihood"]
    np.testing.assert_allclose(found, ours_RN, atol=BOUND, rtol=1e-6)


def test_eight_bit_ignores_padding(made):
    """A padding place with a large activation keeps no column of a text out of its codes."""
    torch = pytest.importorskip("torch")
    model = load(Checkpoint(made(PHI)[0]))
    with quantised(model, "int8") as (copy, places), torch.inference_mode():
        layer = model.module.get_submodule("model.layers.0.self_attn.q_proj")
        x = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
        places.own_BT = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], dtype=torch.bool)
        calm = layer(x)
        x[1, 4, 7] = 50.0
        padded = layer(x)
        torch.testing.assert_close(padded[1, :3], calm[1, :3], rtol=0, atol=0)
        x[0, 4, 7] = 50.0
        apart = layer(x)
        assert (apart[0, :4] - calm[0, :4]).abs().max() > 1e-4
        with pytest.raises(InputError, match="places, not those of the batch"):
            layer(x[:, :3])
    assert copy.storage.bits == 8


def test_models_that_see_later_tokens_are_refused(made):
    folder, _ = made({**_SHAPE, "model_type": "roberta"})
    with pytest.raises(InputError, match="its predictions see the tokens after them"):
        load(Checkpoint(folder))


def test_tensors_are_accounted_for(made, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder, _ = made(GPT2)
    tensors = load_file(folder / "model.safetensors")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())

    def refused(change, match):
        save_file({**tensors, **change}, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(InputError, match=match):
            load(Checkpoint(tmp_path))

    norm = "transformer.ln_f.weight"
    refused({"transformer.h.0.extra": np.zeros(3, np.float32)}, "does not use: .*h.0.extra")
    refused({norm: np.full(64, np.nan, np.float32)}, "NaN or infinite weights in transformer.ln_f")
    refused({norm: np.zeros(63, np.float32)}, "of another shape: transformer.ln_f")
    save_file(
        {name: one for name, one in tensors.items() if name != norm},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(InputError, match=r"lacks the tensors transformer\.ln_f\.weight"):
        load(Checkpoint(tmp_path))


def test_what_cannot_be_done_is_refused_by_name(made, monkeypatch):
    model = load(Checkpoint(made(GPT2)[0]))
    with pytest.raises(InputError, match="'target_rank' is not computed by `engine=torch`"):
        score_texts(model, TOKENS, statistics=("target_rank",))
    with pytest.raises(InputError, match="the tokenizer gives id"):
        score_texts(model, Tokens(np.array([1, V], np.int32), np.array([0, 2]), *_columns()))
    monkeypatch.setattr(model.structure.module.config, "n_layer", 3)
    with pytest.raises(InputError, match="its layers cannot be read"):
        score_texts(model, TOKENS, lens=True)


def _columns():
    return np.ones(1, np.int32), np.zeros(1, bool), np.zeros(1, bool)
