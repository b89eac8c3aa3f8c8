"""What an error says of the model that it is about."""

from __future__ import annotations


def test_the_name_is_left_out_of_a_reason_only_at_its_head():
    from jaxmap.errors import without_name

    assert without_name("a/b: no such model", "a/b@c", "a/b") == "no such model"
    assert without_name("a/b@c, x: bad", "a/b@c", "a/b") == "x: bad"
    assert without_name("a/config.json: not JSON", "a") == "config.json: not JSON"
    for message in ("a/bc: no such model", "of a/b: bad", "a/b"):
        assert without_name(message, "a/b", "") == message
