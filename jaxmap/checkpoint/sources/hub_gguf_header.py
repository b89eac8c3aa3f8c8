"""The first bytes of a GGUF on the Hub: what cannot be read need not be downloaded."""

from __future__ import annotations

from pathlib import Path

from jaxmap.checkpoint.sources.types import Remote, Resolved

_FIRST = 1 << 20
_MOST = 1 << 26  # headers are a few MB: the tokens of a large vocabulary


def check_start(resolved: Resolved, file: Remote, endpoint: str | None) -> None:
    """Refuses a file by its header; does nothing where the header cannot be had by itself.

    Raises InputError as reading the whole file would.
    """
    from huggingface_hub.errors import HTTPError

    from jaxmap.checkpoint.sources.gguf import refuse_early

    if file.size is None:
        return
    count = _FIRST
    while count <= _MOST:
        try:
            content = _first_bytes(resolved, file.name, endpoint, min(count, file.size))
        except (HTTPError, OSError, RuntimeError, ValueError):
            return  # the download says what is wrong
        if refuse_early(content, Path(str(resolved.ref)), file.size) or count >= file.size:
            return
        count *= 8


def _first_bytes(resolved: Resolved, name: str, endpoint: str | None, count: int) -> bytes:
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    ref = resolved.ref
    path = f"{ref.subfolder}/{name}".lstrip("/")
    url = hf_hub_url(ref.repository, path, revision=resolved.commit, endpoint=endpoint)
    headers = {**build_hf_headers(), "Range": f"bytes=0-{count - 1}"}
    content = bytearray()
    session = get_session()
    with session.stream("GET", url, headers=headers, follow_redirects=True, timeout=30) as answer:
        answer.raise_for_status()
        for part in answer.iter_bytes():
            content += part
            if len(content) >= count:  # a server may send the whole file whatever it is asked
                break
    if len(content) < count:
        raise ValueError("the answer ends too early")
    return bytes(content[:count])
