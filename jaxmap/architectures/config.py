"""Access to config.json that remembers which keys were read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jaxmap.architectures.inert_keys import GENERIC_INERT, OTHER_SPELLINGS, is_harmless
from jaxmap.architectures.keys import wanted
from jaxmap.errors import InputError

_MISSING = object()


class Config:
    """A JSON object that remembers which keys were read.

    The family's page reads every key of config.json or declares it inert. Any other key may change
    the logits, so `check_all_read` refuses it by name.
    """

    def __init__(self, values: dict[str, Any], where: str):
        self._values = values
        self._known: set[str] = set()
        self.where = where

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING or value is None:
            raise InputError(f"{self.where}: {key} is missing")
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key; `default` if the key is absent (but not if it is null).

        Raises InputError if the value has the wrong type or is out of bounds (`keys.wanted`).
        """
        self._known.add(key)
        other = OTHER_SPELLINGS.get(key, "")
        if self._values.get(other) is not None:
            self._known.add(other)
            if self._values.get(key) is None:
                return self.get(other)
            self._same({name: self._values[name] for name in (key, other)})
        if key not in self._values:
            return default
        value = self._values[key]
        if reason := wanted(key, value):
            raise InputError(f"{self.where}: {key} = {value!r:.60}: {reason}")
        return value

    def peek(self, key: str) -> Any:
        """The value without counting the key as read; None if the key is absent."""
        return self._values.get(key)

    def first(self, *keys: str) -> Any:
        """The value of a fact that has several names in config.json.

        Raises InputError if none is present, or if two contradict each other.
        """
        given = {key: value for key in keys if (value := self.get(key)) is not None}
        if not given:
            raise InputError(f"{self.where}: {' or '.join(keys)} is missing")
        self._same(given)
        return next(iter(given.values()))

    def _same(self, given: dict[str, Any]) -> None:
        """Raises InputError if several names of one fact have different values."""
        values = list(given.values())
        if any(value != values[0] for value in values):
            named = " and ".join(f"{key} = {value!r:.60}" for key, value in given.items())
            raise InputError(
                f"{self.where}: {named} are two values of one setting; remove the wrong one"
            )

    def assume(self, key: str, value: Any) -> None:
        """Gives a key that is absent, or null, the value that the reference takes for it."""
        if self._values.get(key) is None:
            self._values = {**self._values, key: value}

    def by_layer(self, key: str, layers: int) -> list[Any]:
        """The values of a key that is a list with one entry per layer, or one value for all.

        From then on the key has the first layer's value. Raises InputError if a list has another
        length.
        """
        values = self._values.get(key)
        if not isinstance(values, list):
            return [self[key]] * layers
        if len(values) != layers:
            raise InputError(f"{self.where}: {key} has {len(values)} entries for {layers} layers")
        for value in values:
            self._values = {**self._values, key: value}
            self.get(key)
        self._values = {**self._values, key: values[0]}
        return values

    def child(self, key: str) -> Config | None:
        """A nested object, whose keys are counted too; None if it is absent, null or empty."""
        value = self.get(key)
        if value is not None and not isinstance(value, dict):
            raise InputError(f"{self.where}: {key} is not an object: {value!r}")
        return Config(value, f"{self.where}: {key}") if value else None

    def path(self, keys: str) -> list[Config]:
        """The nested objects behind keys that are joined by dots, outermost first.

        The list is empty if one of them is absent, null or empty. No key counts as read.
        """
        found: list[Config] = []
        for key in keys.split("."):
            outer = found[-1] if found else self
            value = outer.peek(key)
            if not isinstance(value, dict) or not value:
                return []
            found.append(Config(value, f"{outer.where}: {key}"))
        return found

    def require(self, key: str, allowed: tuple, default: Any) -> None:
        """Reads a key; raises InputError if the value is not one that the decoder implements."""
        value = self.get(key, default)
        if value not in allowed:
            known = " or ".join(repr(a) for a in allowed)
            raise InputError(f"{self.where}: {key} = {value!r} is not supported, only {known}")

    def inert(self, *keys: str) -> None:
        """Declares keys that cannot change a logit."""
        self._known.update(keys)

    def check_all_read(self) -> None:
        """Raises InputError, with the keys' names, if keys were neither read nor declared inert."""
        unread = [
            key
            for key in sorted(set(self._values) - self._known - GENERIC_INERT)
            if not is_harmless(key, self._values[key])
        ]
        if unread:
            named = ", ".join(f"{key}={self._values[key]!r:.60}" for key in unread)
            raise InputError(
                f"{self.where}: keys that may change the logits and that nothing read: {named}; "
                "if they cannot, name them in `ignore_config_keys`"
            )


def head_width(c: Config, width: int, heads: int) -> int:
    """The channels per head, width / heads; raises InputError if the division is not exact."""
    if heads < 1 or width % heads:
        raise InputError(f"{c.where}: a width of {width} does not divide into {heads} heads")
    return width // heads


def sliding_layers(c: Config, L: int, default: Callable[[int], bool]) -> tuple[bool, ...]:
    """Whether each of L layers has a window: by layer_types, otherwise by `default(layer)`."""
    kinds = c.get("layer_types")
    if kinds is None:
        return tuple(default(i) for i in range(L))
    if unknown := set(kinds) - {"full_attention", "sliding_attention"}:
        raise InputError(f"{c.where}: unknown layer_types {sorted(unknown)}")
    if len(kinds) != L:
        raise InputError(f"{c.where}: {len(kinds)} layer_types for {L} layers")
    return tuple(kind == "sliding_attention" for kind in kinds)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; raises InputError with the file and the position of a fault."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, 5000 brackets
        raise InputError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a JSON object")
    return value
