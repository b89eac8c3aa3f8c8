"""A dataset repository on the Hub: its contents, uploads and downloads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from jaxmap.atomic import full_disk_errors
from jaxmap.checkpoint.refs import is_hub_name
from jaxmap.checkpoint.sources.hub import Hub
from jaxmap.checkpoint.sources.retry import RefusedError, Retry, attempt, first_line
from jaxmap.errors import InputError, JaxmapError

T = TypeVar("T")

_KIND = "dataset"
_TIMEOUT = 30.0  # seconds to wait for the Hub's answer about a repository


class MovedError(Exception):
    """Raised when somebody else's commit came first."""


@dataclass(frozen=True)
class RepositoryContents:
    """What a repository holds at a commit: the bytes of each file, None where they are unknown."""

    commit: str
    files: Mapping[str, int | None]
    private: bool


@dataclass(frozen=True)
class Repository:
    """A dataset repository, `org/name`; raises InputError for another form of name."""

    name: str
    retry: Retry = field(default_factory=lambda: Retry())

    def __post_init__(self) -> None:
        if not is_hub_name(self.name) or self.name.count("/") != 1:
            raise InputError(
                "write a dataset repository of the Hub, org/name", field="repo", value=self.name
            )
        if Hub().is_offline:
            raise InputError(
                f"{self.name}: offline (HF_HUB_OFFLINE): unset it to reach the Hub", field="repo"
            )

    def contents(self, revision: str | None = None) -> RepositoryContents | None:
        """What is there; None if there is no such repository, or none that one may read."""
        from huggingface_hub import HfApi, errors

        try:
            info = attempt(
                lambda: HfApi().dataset_info(
                    self.name, revision=revision, files_metadata=True, timeout=_TIMEOUT
                ),
                self.name,
                self.retry,
            )
        except RefusedError as refused:
            missing = isinstance(refused.error, errors.RepositoryNotFoundError)
            if missing and not isinstance(refused.error, errors.GatedRepoError):
                return None
            raise self._explained(refused, "read") from refused
        if not info.sha:
            raise JaxmapError(f"{self.name}: the Hub's answer names no commit; check HF_ENDPOINT")
        files = {file.rfilename: file.size for file in info.siblings or ()}
        return RepositoryContents(info.sha, files, bool(info.private))

    def create(self, *, private: bool) -> None:
        """Makes the repository; it may exist already."""
        from huggingface_hub import HfApi

        self._attempt(
            lambda: HfApi().create_repo(self.name, repo_type=_KIND, private=private, exist_ok=True),
            "make",
        )

    def commit(self, files: Mapping[str, bytes], message: str, parent: str | None = None) -> None:
        """Puts files there in one commit.

        Raises MovedError if another commit came meanwhile; with a `parent`, if it is not the last.
        """
        from huggingface_hub import CommitOperationAdd, HfApi
        from huggingface_hub.errors import HTTPError

        def send() -> object:
            # The operations remember what was done with them, so each try has its own.
            operations = [CommitOperationAdd(name, content) for name, content in files.items()]
            try:
                return HfApi().create_commit(
                    self.name,
                    operations,
                    commit_message=message,
                    repo_type=_KIND,
                    parent_commit=parent,
                )
            except RuntimeError as error:  # hides what the Hub said of an upload
                if isinstance(error.__cause__, HTTPError):
                    raise error.__cause__ from error
                raise

        try:
            attempt(send, self.name, self.retry)
        except RefusedError as refused:
            if refused.status in (409, 412):
                raise MovedError from refused
            raise self._explained(refused, "write") from refused

    def download(self, name: str, commit: str, folder: Path) -> Path:
        """Brings one file into a folder; returns its path."""
        from huggingface_hub import hf_hub_download

        def bring() -> str:
            with full_disk_errors(folder):
                return hf_hub_download(
                    self.name, name, repo_type=_KIND, revision=commit, local_dir=folder
                )

        return Path(self._attempt(bring, "read"))

    def _attempt(self, request: Callable[[], T], what: str) -> T:
        try:
            return attempt(request, self.name, self.retry)
        except RefusedError as refused:
            raise self._explained(refused, what) from refused

    def _explained(self, refused: RefusedError, what: str) -> JaxmapError:
        """The error in one line; `what` is what was tried: read, write or make."""
        from huggingface_hub import errors

        error, status = refused.error, refused.status
        if isinstance(error, errors.HFValidationError):
            return InputError("not a name that the Hub allows", field="repo", value=self.name)
        if isinstance(error, errors.GatedRepoError):
            return InputError(
                f"{self.name}: gated; accept its terms on its page on the Hub, then set HF_TOKEN"
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return InputError(f"{self.name}: no such revision", field="revision")
        if status in (401, 403) or isinstance(error, errors.RepositoryNotFoundError):
            return InputError(
                f"{self.name}: the Hub does not let you {what} it; set HF_TOKEN to a token that may"
            )
        if isinstance(error, OSError) and error.strerror:
            return JaxmapError(f"{self.name}: {error.filename or ''}: {error.strerror}")
        return JaxmapError(f"{self.name}: {first_line(error)}")


def missing(name: str) -> InputError:
    """The error for a repository that is not there."""
    return InputError(
        "no such dataset on the Hub, or a private one (set HF_TOKEN to a token that may read it)",
        field="repo",
        value=name,
    )


@contextlib.contextmanager
def quiet_client() -> Iterator[None]:
    """The client library without a bar for every file: there is one for all of them."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()
