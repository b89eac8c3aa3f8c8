"""GPT-J to StableLM against Hugging Face PyTorch: sdpa attention, eager where there is none.

Falcon's reference is sdpa: its eager attention adds ALiBi twice in transformers 5.23. MPT's is
patched for `alibi_bias_max`, which transformers ignores and the training code does not.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from families_classic import CASES
from parity import check_parity


@pytest.mark.parametrize("name", CASES)
def test_logits_and_scores(name, tmp_path):
    check_parity(CASES[name], tmp_path)


# Where a small error of an angle, a slope or a window shows: 733 tokens.
@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("gptj", {"n_positions": 1024}),
        ("codegen", {"n_positions": 1024}),
        ("gpt_neo", {"max_position_embeddings": 1024}),
        ("opt", {"max_position_embeddings": 1024}),
        ("bloom-six-heads", {}),
        ("falcon-rw", {}),
        ("falcon-40b-alibi", {}),
        ("mpt-six-heads", {"max_seq_len": 1024}),
        ("xglm", {"max_position_embeddings": 1024}),
    ],
)
def test_long_text(name, context, tmp_path):
    ids = np.random.default_rng(3).integers(0, 97, 733).astype(np.int32)
    check_parity({**CASES[name], **context}, tmp_path, texts=[ids])


def test_slopes_follow_alibi_bias_max(tmp_path):
    def corrected(reference):
        model = reference.transformer
        build = type(model).build_mpt_alibi_tensor
        model.build_mpt_alibi_tensor = functools.partial(build, model, alibi_bias_max=16)

    config = {**CASES["mpt"], "attn_config": {"alibi_bias_max": 16}}
    check_parity(config, tmp_path, before_each=corrected)
