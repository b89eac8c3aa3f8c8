"""Every statistic of a comparison against full logits of PyTorch in float64: ten kinds of head."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support.checkpoints import add_tokenizer, write_texts
from support.reference import make_model

import jaxmap as package
from jaxmap.comparison.details import CONFIDENCE, QUANTILES
from jaxmap.corpus.tokens import load_tokenizer

SMALL = dict(
    vocab_size=331,
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=64,
)
ONE_KEY = {**SMALL, "num_key_value_heads": 2}
REFERENCE = dict(model_type="llama", **ONE_KEY)
HEADS = {
    "tied": dict(model_type="gpt2", vocab_size=331, n_embd=32, n_layer=1, n_head=4, n_positions=64),
    "untied": dict(model_type="gpt_neox", **SMALL),
    "biased": dict(model_type="phi", partial_rotary_factor=0.5, **SMALL),
    "bias of its own": dict(
        model_type="gptj", vocab_size=331, n_embd=32, n_layer=1, n_head=4, n_positions=64,
        rotary_dim=4, tie_word_embeddings=False,
    ),
    "soft cap": dict(
        model_type="gemma2", head_dim=8, sliding_window=16, query_pre_attn_scalar=8,
        final_logit_softcapping=3.0, **ONE_KEY,
    ),
    "scaled": dict(model_type="cohere", logit_scale=0.25, **ONE_KEY),
    "divided": dict(
        model_type="granite", logits_scaling=3.0, attention_multiplier=0.3,
        residual_multiplier=0.7, embedding_multiplier=2.0, **ONE_KEY,
    ),
    "more rows": dict(model_type="qwen2", **{**ONE_KEY, "vocab_size": 352}),
    "fewer rows": dict(model_type="mistral", sliding_window=None, **{**ONE_KEY, "vocab_size": 317}),
    "projected": dict(
        model_type="opt", vocab_size=331, hidden_size=32, num_hidden_layers=1,
        num_attention_heads=4, ffn_dim=48, max_position_embeddings=64, word_embed_proj_dim=24,
    ),
    "no attention": dict(
        model_type="mamba", vocab_size=331, hidden_size=32, num_hidden_layers=1, state_size=4,
    ),
}  # fmt: skip


def made(config, folder, seed):
    model = make_model(config, folder, seed=seed)
    add_tokenizer(folder)
    return folder, model.double()


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    pytest.importorskip("torch")
    return made(REFERENCE, tmp_path_factory.mktemp("heads") / "reference", 1)


def log_softmax(model, ids, size=None):
    import torch

    with torch.no_grad():
        logits_TV = model(torch.as_tensor(ids)[None].long()).logits[0, :-1, :size]
    return torch.log_softmax(logits_TV.double(), -1).numpy()


def by_hand(theirs, ours, tokens):
    """Per token, float64, and the number of tokens of each text."""
    size = min(theirs.config.vocab_size, ours.config.vocab_size)
    found: dict[str, list] = {}
    count = []
    for n in range(len(tokens)):
        ids = tokens.ids[tokens.offsets[n] : tokens.offsets[n + 1]]
        count.append(max(0, len(ids) - 1))
        if len(ids) < 2:
            continue
        each = np.arange(len(ids) - 1), ids[1:]
        wholes = {"reference_": log_softmax(theirs, ids), "": log_softmax(ours, ids)}
        p_TV, q_TV = log_softmax(theirs, ids, size), log_softmax(ours, ids, size)
        five = zip(p_TV.argsort()[:, -5:], q_TV.argsort()[:, -5:], strict=True)
        here = {
            "kl": (np.exp(p_TV) * (p_TV - q_TV)).sum(-1),
            "reverse": (np.exp(q_TV) * (q_TV - p_TV)).sum(-1),
            "top": p_TV.argmax(-1) == q_TV.argmax(-1),
            "five": [len({*a} & {*b}) / 5 for a, b in five],
            "confidence": np.exp(wholes["reference_"].max(-1)),
        }
        for name, whole_TV in wholes.items():
            here[f"{name}logp"] = whole_TV[each]
            here[f"{name}entropy"] = -(np.exp(whole_TV) * whole_TV).sum(-1)
            here[f"{name}outside"] = np.exp(whole_TV[:, size:]).sum(-1)
        for name, value_T in here.items():
            found.setdefault(name, []).extend(np.asarray(value_T).tolist())
    return {name: np.array(values) for name, values in found.items()}, np.array(count)


def expected(found, chosen):
    one = {name: value[chosen] for name, value in found.items()}
    moved = np.exp(one["logp"]) - np.exp(one["reference_logp"])
    return {
        "token_kl": one["kl"].mean(),
        "token_kl_reverse": one["reverse"].mean(),
        **{name: np.quantile(one["kl"], share) for name, share in QUANTILES.items()},
        "token_kl_max": one["kl"].max(),
        "same_top_token": one["top"].mean(),
        "same_top_5": one["five"].mean(),
        "perplexity_ratio": np.exp((one["reference_logp"] - one["logp"]).mean()),
        "delta_probability": moved.mean(),
        "delta_probability_rms": np.sqrt((moved**2).mean()),
        "entropy": one["entropy"].mean(),
        "reference_entropy": one["reference_entropy"].mean(),
        "mass_outside": one["outside"].mean(),
        "reference_mass_outside": one["reference_outside"].mean(),
    }


@pytest.mark.parametrize("head", HEADS)
def test_against_full_logits(reference, tmp_path, head):
    folder, theirs = reference
    own, ours = made(HEADS[head], tmp_path / "own", 7)
    texts = write_texts(tmp_path / "texts.jsonl")
    text_set = package.load_texts(texts)
    [compared] = package.compare(own, texts, tmp_path / "store", reference=folder).compared
    found, count_N = by_hand(theirs, ours, load_tokenizer(folder).encode(text_set, 64))
    assert compared.row.tokens == len(found["kl"])
    details = {(one.subset, one.statistic): one for one in compared.details}
    every = np.ones(len(found["kl"]), bool)
    bits = text_set.num_bytes.sum() * np.log(2)
    per_byte = {
        "token_kl_bits_per_byte": found["kl"].sum() / bits,
        "bits_per_byte": -found["logp"].sum() / bits,
        "reference_bits_per_byte": -found["reference_logp"].sum() / bits,
        "delta_bits_per_byte": (found["reference_logp"] - found["logp"]).sum() / bits,
    }
    whole = {**expected(found, every), **per_byte}
    assert {name for subset, name in details if subset == "all"} == set(whole)
    for name, value in whole.items():
        got = details["all", name].value
        np.testing.assert_allclose(got, value, rtol=1e-4, atol=2e-6, err_msg=name)
    outside = details["all", "mass_outside"].value, details["all", "reference_mass_outside"].value
    assert (outside[0] > 1e-3) == (head == "more rows")
    assert (outside[1] > 1e-3) == (head == "fewer rows")
    seen = 0
    for low, high in itertools.pairwise(CONFIDENCE):
        bucket = (found["confidence"] >= low) & (found["confidence"] < high)
        subset = f"confidence {low:g} to {high:g}"
        if not bucket.any():
            assert (subset, "token_kl") not in details
            continue
        seen += 1
        assert details[subset, "token_kl"].tokens == bucket.sum()
        for name, value in expected(found, bucket).items():
            got = details[subset, name].value
            np.testing.assert_allclose(got, value, rtol=1e-4, atol=2e-6, err_msg=subset)
    assert seen > 1
    assert details["all", "token_kl"].texts == len(count_N)
