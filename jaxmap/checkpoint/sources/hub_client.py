"""The Hugging Face Hub's address, its cache, and what a failed request to it means."""

from __future__ import annotations

import errno
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from absl import logging

from jaxmap.checkpoint.refs import Ref, folder_like
from jaxmap.checkpoint.sources.retry import RefusedError, Retry, attempt
from jaxmap.checkpoint.sources.types import nearest
from jaxmap.errors import InputError, JaxmapError, first_line

T = TypeVar("T")

COMMIT = re.compile(r"[0-9a-f]{40}")


class DiskFullError(JaxmapError):
    """Raised when the disk of the cache is full, so that every other download would fail too."""


@dataclass(frozen=True)
class Hub:
    """The addresses of the Hub and its cache, and whether to work offline.

    None stands for the values of HF_ENDPOINT, HF_HUB_CACHE (HF_HOME) and HF_HUB_OFFLINE.
    """

    endpoint: str | None = None
    cache: Path | None = None
    offline: bool | None = None
    retry: Retry = field(default_factory=Retry)

    @property
    def is_offline(self) -> bool:
        """Whether nothing may be asked of the network."""
        from huggingface_hub import constants

        return constants.HF_HUB_OFFLINE if self.offline is None else self.offline

    def repository(self, name: str) -> Path:
        """The folder of a model in the cache."""
        from huggingface_hub import constants

        cache = Path(constants.HF_HUB_CACHE if self.cache is None else self.cache).expanduser()
        return cache.absolute() / ("models--" + name.replace("/", "--"))


def disk_full(where: str, folder: Path, detail: str) -> DiskFullError:
    """The error for a disk that is full; `where` names the model."""
    return DiskFullError(
        f"{where}: disk full at {folder} ({detail}); free space or point HF_HOME to another disk"
    )


def request(call: Callable[[], T], ref: Ref, hub: Hub) -> T:
    """Makes a request about a model, again after failures that may be temporary.

    Raises InputError for a model that is missing, gated or private, and JaxmapError, in one line,
    for other failures. A name that begins as a folder on this machine does is mentioned first.
    """
    if folder := folder_like(ref.name):
        _mention(ref.name, folder)
    try:
        return attempt(call, str(ref), hub.retry)
    except RefusedError as refused:
        raise _explain(refused.error, refused.status, ref, hub) from refused


@functools.cache
def _mention(name: str, folder: str) -> None:
    """Says, once for each name, that what may have been meant as a folder is asked of the Hub."""
    logging.warning("%s: not in the folder %s here; the Hub is asked", name, folder)


def _explain(error: BaseException, status: int | None, ref: Ref, hub: Hub) -> JaxmapError:
    """The error, in one line, for a failure that a retry does not help."""
    from huggingface_hub import errors

    if isinstance(error, errors.HFValidationError):
        return InputError(f"{ref}: not a name that the Hub allows")
    if isinstance(error, errors.GatedRepoError):
        return InputError(
            f"{ref}: gated; accept its licence on its page on the Hub, "
            "then set HF_TOKEN to a token that may read it"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(f"{ref}: no revision {ref.revision!r} ({_nearest_branches(ref, hub)})")
    if isinstance(error, errors.RepositoryNotFoundError):
        near = ref.subfolder or folder_like(ref.name)
        here = ", and no such folder here" if near else ""
        return InputError(
            f"{ref}: no such model on the Hub, or a private one "
            f"(set HF_TOKEN to a token that may read it){here}"
        )
    if status in (401, 403):
        return InputError(f"{ref}: the Hub refuses access (HTTP {status}); check HF_TOKEN")
    if status == 404:
        return InputError(f"{ref}: not found on the Hub (HTTP 404); check the name and revision")
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return disk_full(str(ref), hub.repository(ref.repository).parent, "no space left")
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        cache = hub.repository(ref.repository).parent
        return JaxmapError(f"{ref}: cannot write to the cache {cache}; point HF_HOME elsewhere")
    if isinstance(error, ValueError):
        return JaxmapError(f"{ref}: the Hub's answer cannot be read; check HF_ENDPOINT and proxies")
    return JaxmapError(f"{ref}: {first_line(error)}")


def _nearest_branches(ref: Ref, hub: Hub) -> str:
    """A hint for a message, from one request that may fail."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    try:
        refs = HfApi(endpoint=hub.endpoint).list_repo_refs(ref.repository)
    except (HTTPError, OSError):
        return "its branches could not be listed"
    return nearest(ref.revision or "main", [known.name for known in (*refs.branches, *refs.tags)])
