"""Pages of a few lines, a name for DeepSeek-V3, and routers that cannot decide."""

from __future__ import annotations

import json

import pytest
from support.cases.experts import CASES as EXPERTS
from support.cases.variants import CASES, SLOW
from support.parity import check_parity, compare
from support.reference import make_model


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in CASES],
)
def test_parity(name, tmp_path):
    check_parity(CASES[name], tmp_path)


@pytest.mark.slow
def test_kimi_k2_is_deepseek_v3(tmp_path):
    reference = make_model(EXPERTS["deepseek_v3"], tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "kimi_k2"}))
    compare(reference, tmp_path, lens=True)


@pytest.mark.parametrize(
    ("name", "twins"),
    [
        ("mixtral", False),
        ("qwen2_moe", True),
        pytest.param("mixtral", True, marks=pytest.mark.slow),
    ],
)
def test_equal_router_logits(name, twins, tmp_path):
    """Experts that every token's router scores alike, two and two.

    Of those that tie for the last place torch.topk takes one or another as its sort happens to go
    (of six equal ones on a CPU the fourth and the sixth); we take the first. So what can be
    compared is a tie within those chosen (two of pairs), and one between equal experts (three).
    """
    import torch

    key = "num_local_experts" if name == "mixtral" else "num_experts"
    config = {**EXPERTS[name], key: 6, "num_experts_per_tok": 3 if twins else 2}
    reference = make_model(config, tmp_path)
    with torch.no_grad():
        for module in reference.modules():
            if hasattr(module, "experts"):
                module.gate.weight[3:] = module.gate.weight[:3]
                if twins:
                    for tensor in module.experts.parameters():
                        tensor[3:] = tensor[:3]
    reference.save_pretrained(tmp_path)
    compare(reference, tmp_path)
