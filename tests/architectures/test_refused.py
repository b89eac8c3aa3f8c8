"""Every causal and every multimodal type of transformers has a page or a reason."""

from __future__ import annotations

import pytest
import transformers
from support.checkpoints import jaxmap

from jaxmap.architectures.config import Config
from jaxmap.architectures.refused import COMPLETE_FOR
from jaxmap.architectures.registry import families, family_of, refused
from jaxmap.errors import InputError


def test_every_type_has_a_page_or_a_reason():
    """Of the version for which the list is complete; later ones add types of their own."""
    auto = transformers.models.auto.modeling_auto
    mapping = {
        *auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        *auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
        *auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    }
    if not transformers.__version__.startswith(f"{COMPLETE_FOR}."):
        pytest.skip(f"the list is complete for transformers {COMPLETE_FOR}")
    assert mapping - set(families()) - set(refused()) == set()
    assert set(refused()) - mapping == set()


def test_the_error_gives_the_reason():
    with pytest.raises(InputError, match=r"'xlnet' has no page \(trained on permutations.*engine="):
        family_of(Config({"model_type": "xlnet"}, "config.json"))


def test_families_prints_them():
    ran = jaxmap("families", "--find=xlnet")
    assert "xlnet: trained on permutations of a text" in ran.out
    assert "--engine=torch" in ran.out
    assert "whisper" not in ran.out
    assert not set(refused()) & set(families())
