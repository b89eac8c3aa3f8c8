"""A repository of one small model on a Hub of this machine."""

from __future__ import annotations

import pytest

from jaxmap.checkpoint.refs import Ref
from jaxmap.errors import JaxmapError
from support.hubs import Fake

LATER = "fedcba9876543210fedcba9876543210fedcba98"

REF = Ref("org/tiny", "step3")

WEIGHTS = bytes(range(256)) * 2000


def gets(fake: Fake) -> dict[str, int]:
    return {
        key.removeprefix("GET "): n
        for key, n in fake.asked.items()
        if key.startswith("GET") and key not in ("GET info", "GET refs")
    }


def refused(action, kind: type[JaxmapError]) -> str:
    with pytest.raises(JaxmapError) as caught:
        action()
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)
