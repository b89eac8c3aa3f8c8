"""A model's tokenizer from the Hub, without its weights: of a GGUF's base model."""

from __future__ import annotations

from pathlib import Path

from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.retry import Retry
from jaxmap.corpus.tokenizer_files import VOCABULARIES, tokenizer_files
from jaxmap.errors import InputError

# There is another way to a tokenizer: the network is not waited for long.
_RETRY = Retry(tries=2)


def tokenizer_of(ref: Ref) -> tuple[Path, str]:
    """The folder with a model's tokenizer files and config.json, and its commit.

    Raises InputError where it has none, JaxmapError where the Hub does not answer.
    """
    import fnmatch

    from jaxmap.checkpoint.sources import hub

    where = hub.Hub(retry=_RETRY)
    if where.is_offline:
        return _in_cache(ref, where.repository(ref.repository))
    commit, listed, _ = hub.listing(ref, where)
    names = tokenizer_files(name for name in listed if "/" not in name)
    if not any(fnmatch.filter(names, pattern) for pattern in VOCABULARIES):
        raise InputError(f"{ref}: holds no tokenizer")
    wanted = [*names, *(["config.json"] if "config.json" in listed else [])]
    folder = hub.fetch_files(ref, commit, [listed[name] for name in wanted], where)
    return folder, commit


def _in_cache(ref: Ref, repository: Path) -> tuple[Path, str]:
    pointer = repository / "refs" / (ref.revision or "main")
    commit = pointer.read_text().strip() if pointer.is_file() else ""
    folder = repository / "snapshots" / commit
    if not commit or not folder.is_dir():
        raise InputError(f"{ref}: offline and not in the cache")
    return folder, commit
