"""Every layer through the logit lens.

Against PyTorch it is compared where a family is (`parity.compare`): at the first case of each model
type, and here, slowly, at every other.
"""

from __future__ import annotations

import numpy as np
import pytest
from support import containers
from support.cases.classic import CASES as CLASSIC
from support.cases.core import CASES
from support.cases.experts import CASES as EXPERTS
from support.cases.llama_successors import CASES as MODERN
from support.parity import (
    check_lens,
    first_of_its_type,
    lens_cases,
    lens_rows,
    random_texts,
    tables,
)
from support.reference import make_model
from support.token_sets import make_tokens

from jaxmap.architectures.registry import families
from jaxmap.checkpoint import weights
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens

OTHERS = {
    name: config
    for name, config in tables().items()
    if isinstance(config, dict) and not first_of_its_type(config)
}
# Of these transformers has no class: their own tests make and compare them.
BY_HAND = {"camelidae", "deepseek", "stablelm_alpha"}
# Another name on the outside of the same decoder.
SAME = {
    "kimi_k2": "deepseek_v3",
    "phi4mm": "phi4_multimodal",
    **{kind: text for kind, text in containers.INSIDE.items() if kind not in containers.WHOLE},
    **containers.RENAMED,
}


def test_every_family_is_compared():
    compared = set(lens_cases())
    assert set(SAME.values()) <= compared
    assert set(families()) - BY_HAND - set(SAME) - containers.WHOLE == compared


# One kind of layer; several; a norm after each block and none at the end; a soft cap.
@pytest.mark.parametrize(
    "config",
    [CASES["gpt_neox"], EXPERTS["deepseek_v3"], CLASSIC["opt-350m"], MODERN["gemma2"]],
    ids=lambda config: config["model_type"],
)
def test_last_row_is_the_models_own_score(config, tmp_path):
    make_model(config, tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    tokens = make_tokens(random_texts())
    scorer = Scorers().of(model)
    own_N = score_tokens(scorer, model, tokens)
    np.testing.assert_array_equal(lens_rows(scorer, model, tokens, lens=True)[-1], own_N)


def test_memory_is_one_block_for_all_layers(tmp_path):
    """No array of the program holds tokens x vocabulary, nor layers x tokens x block."""
    from jaxmap.corpus.batches import batches, plan
    from jaxmap.engine.scorer import Scorer

    make_model(CASES["gpt_neox"], tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    tokens = make_tokens([np.arange(90, dtype=np.int32)] * 40)
    batch = next(batches(tokens, plan(tokens, batch_tokens=2048)))
    lowered = Scorer(model.graph, vocabulary_block=16).lower(model.params, batch, lens=True)
    places = batch.ids_BT.size
    text = lowered.as_text()
    assert f"{places}x14xf32" in text
    assert f"{places}x97x" not in text
    assert f"3x{places}x14x" not in text


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_every_layer_of_every_case(name, tmp_path):
    if OTHERS[name]["model_type"] not in _made_by_transformers():
        pytest.skip("compared with the oracle where the family is")
    reference = make_model(OTHERS[name], tmp_path)
    model = weights.load(tmp_path, dtype="float32")

    def forget(reference):  # dynamic NTK keeps its frequencies from longer texts for later ones
        if "dynamic" in name:
            reference.model.rotary_emb.__init__(reference.config)

    ll_RN = check_lens(reference, model, random_texts(), before_each=forget)
    own_N = score_tokens(Scorers().of(model), model, make_tokens(random_texts()), batch_tokens=512)
    np.testing.assert_array_equal(ll_RN[-1], own_N)


def _made_by_transformers() -> set[str]:
    from transformers import CONFIG_MAPPING

    return set(CONFIG_MAPPING)
