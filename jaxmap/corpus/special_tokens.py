"""Special and added tokens from the files beside tokenizer.json, by the rules of transformers 4.

Sources: PreTrainedTokenizerBase._from_pretrained, SpecialTokensMixin and
PreTrainedTokenizerFast.__init__ of transformers 4.57.6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxmap.corpus.tokenizer_classes import FastClass
from jaxmap.corpus.tokenizer_files import read_json
from jaxmap.errors import InputError

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_MORE = "additional_special_tokens"


@dataclass(frozen=True)
class SpecialTokens:
    """The special tokens in the files beside tokenizer.json.

    Fields:
      roles: the token of each role that has one ("bos_token": "<s>").
      named: special tokens in the order in which they are added, str or AddedToken.
      added: further tokens, AddedToken by id.
    """

    roles: dict[str, str]
    named: list[Any]
    added: dict[int, Any]

    def add_to(self, backend: Any) -> Any:
        """Adds the missing tokens to a tokenizers.Tokenizer, in transformers' order.

        A token that is new to the vocabulary gets the next free id. Returns the tokenizer to use,
        which may be another object.
        """
        from tokenizers import AddedToken

        before = backend.get_added_tokens_decoder()
        there = before.values()
        known = {repr(token) for token in there}
        tokens = [token for _, token in sorted(self.added.items()) if repr(token) not in known]
        contents = {token.content for token in (*there, *tokens)}
        # A special token with fields of its own is added again, so that its fields take effect.
        tokens += [
            token
            for token in self.named
            if (token not in contents if isinstance(token, str) else token not in tokens)
        ]
        special = {_content(token) for token in self.named}
        adds = []
        for token in tokens:
            if isinstance(token, str):
                token = AddedToken(token, special=True)
            token.special = token.special or token.content in special
            adds.append(token)
        if adds:
            backend.add_tokens(adds)
        after = backend.get_added_tokens_decoder()
        if all(repr(after[number]) == repr(token) for number, token in before.items()):
            return backend
        # After a token's fields change, the library still finds it by the old fields as well. A
        # tokenizer made anew from its JSON does not.
        return type(backend).from_str(backend.to_str())


def read_special_tokens(
    folder: Path,
    tokenizer_config: Mapping[str, Any],
    kind: FastClass,
    there: Mapping[int, Any],
) -> SpecialTokens:
    """The special tokens of a folder, from its class's defaults and its files.

    `there` are the added tokens of its vocabulary, AddedToken by id. Raises InputError if a token
    is written in an unknown form.
    """
    from tokenizers import AddedToken

    where = folder / "tokenizer_config.json"
    values: dict[str, Any] = dict(kind.defaults)
    for role in ROLES:
        if role in tokenizer_config:
            values[role] = _token(tokenizer_config[role], where, role)
    more = _tokens(tokenizer_config.get(_MORE), where, _MORE)
    extra = tokenizer_config.get("extra_special_tokens")
    if not isinstance(extra, Mapping):  # transformers 5's name for additional_special_tokens
        more += _tokens(extra, where, "extra_special_tokens")
        extra = {}
    added: dict[int, Any] = {}
    decoder = tokenizer_config.get("added_tokens_decoder")
    if isinstance(decoder, Mapping):
        for index, one in decoder.items():
            token = _token(one, where, "added_tokens_decoder")
            if not str(index).isdigit() or not isinstance(token, AddedToken):
                raise InputError(f"{where}: added_tokens_decoder: {index!r}: {one!r} is no token")
            added[int(index)] = token
    else:
        more = _read_older_files(folder, values, more, added)
        added |= there
    # The fields of a named token are those among the added tokens, not its own; those in
    # added_tokens.json do not count here.
    listed = added if isinstance(decoder, Mapping) else there
    by_content = {token.content: token for token in listed.values()}
    for role, one in values.items():
        if one is not None and one is not kind.defaults.get(role):
            one = by_content.get(_content(one), one)
        if kind.wraps and isinstance(one, str):
            one = AddedToken(one, special=True, normalized=False)
        values[role] = one
    named = [values[role] for role in ROLES if values.get(role)]
    more += [*kind.extra, *(_token(one, where, name) for name, one in extra.items())]
    named += [one for one in more if one]
    first = {_content(token): token for token in reversed(named) if token}
    return SpecialTokens(
        roles={role: _content(one) for role, one in values.items() if one},
        named=[first[content] for content in dict.fromkeys(map(_content, named)) if content],
        added=added,
    )


def _read_older_files(
    folder: Path, values: dict[str, Any], more: list[Any], added: dict[int, Any]
) -> list[Any]:
    """Reads special_tokens_map.json and added_tokens.json into `values` and `added`.

    special_tokens_map.json has priority over tokenizer_config.json. transformers reads these files
    only if there is no added_tokens_decoder. Returns the additional special tokens.
    """
    from tokenizers import AddedToken

    where = folder / "special_tokens_map.json"
    for role, value in (read_json(where) or {}).items():
        if role == _MORE:
            more = more + [one for one in _tokens(value, where, role) if one not in more]
        elif role in ROLES:
            values[role] = _token(value, where, role, special=True)
    special = {_content(token) for token in (*values.values(), *more) if token}
    where = folder / "added_tokens.json"
    for content, index in (read_json(where) or {}).items():
        if not isinstance(index, int):
            raise InputError(f"{where}: {content!r}: {index!r} is no id of a token")
        is_special = content in special
        added[index] = AddedToken(content, normalized=not is_special, special=is_special)
    return more


def _tokens(values: Any, where: Path, name: str) -> list[Any]:
    if values is None:
        return []
    if not isinstance(values, list):
        raise InputError(f"{where}: {name}: not a list of tokens")
    return [_token(one, where, name) for one in values if one is not None]


def _token(value: Any, where: Path, name: str, **more: bool) -> Any:
    """A token as transformers writes it: a string, or its fields; None stays None."""
    from tokenizers import AddedToken

    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping) and isinstance(value.get("content"), str):
        fields = ("lstrip", "rstrip", "normalized", "single_word", "special")
        given = {field: bool(value[field]) for field in fields if value.get(field) is not None}
        return AddedToken(value["content"], **(given | more))
    raise InputError(f"{where}: {name}: {value!r} is no token; write a string")


def _content(token: Any) -> str:
    return token if isinstance(token, str) else token.content


def switched_tokens(
    folder: Path,
    kind: FastClass,
    settings: Mapping[str, Any],
    roles: Mapping[str, str],
    id_of: Callable[[str], int | None],
) -> tuple[list[str], list[str]]:
    """The tokens that add_bos_token and add_eos_token put before and after a text.

    Raises InputError if one is needed and the vocabulary has no id for it.
    """
    around: list[list[str]] = []
    for switch, role, default in (
        ("add_bos_token", "bos_token", kind.add_bos),
        ("add_eos_token", "eos_token", kind.add_eos),
    ):
        token = roles.get(role)
        wanted = bool(settings.get(switch, default))
        if wanted and (token is None or id_of(token) is None):
            raise InputError(
                f"{folder / 'tokenizer_config.json'}: {switch} is true, and {role} is {token!r}, "
                f"which has no id; name a token of the vocabulary, or write {switch}: false"
            )
        around.append([token] if wanted and token is not None else [])
    before, after = around
    return before, after
