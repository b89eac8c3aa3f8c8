"""Writes files atomically: each is complete or absent, whenever the process is killed."""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from jaxmap.errors import InputError, JaxmapError

Writer = Callable[[BinaryIO], object]

DAY_S = 24 * 3600.0
_TEMP = re.compile(r"^\..+\.(?P<host>\w+)-(?P<pid>\d+)-[0-9a-f]+\.tmp$")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # failures; all else is a place badly chosen
# How libraries that raise no OSError name one: safetensors and tokenizers, TensorStore (Orbax).
_OS_ERROR = re.compile(r"\(os error (\d+)\)|\[os_error_code='(\d+)'\]")
_REASONS = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "the disk quota is used up: free some space and run again",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.EACCES: "no permission to write there: choose another place",
    errno.EPERM: "no permission to write there: choose another place",
    errno.ENOTDIR: "a part of the path is a file, not a folder: choose another place",
    errno.EEXIST: "a part of the path is a file, not a folder: choose another place",
    errno.ENOENT: "there is no such place: choose another",
    errno.EFBIG: "the file would be larger than is allowed (ulimit -f): raise the limit",
    errno.EISDIR: "it is a folder: name a file",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
}


def write_atomic(
    path: str | os.PathLike[str], content: bytes | Writer, *, durable: bool = True
) -> None:
    """Writes a file that appears whole, replacing an older one only at the end.

    `content` is the bytes, or a function that writes them to an open binary file (readable and
    seekable). Missing parent folders are made. Unless `durable`, the file may be lost when the
    machine stops, and nothing waits for the disk. Raises, naming the path, JaxmapError when the
    disk is full and InputError when the place is read-only or not ours; what stood at the path
    before then still stands.
    """
    path = Path(path)
    with one_line_errors(path):
        temp = _write_temp(path, content, durable=durable)
        try:
            os.replace(temp, path)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
        if durable:
            _sync_folder(path.parent)


def create_atomic(
    path: str | os.PathLike[str], content: bytes | Writer, *, durable: bool = True
) -> bool:
    """Writes a file unless one is there already; returns whether this call wrote it.

    Of several processes that create the same file at once, exactly one succeeds. `durable` is as
    for `write_atomic`.
    """
    path = Path(path)
    with one_line_errors(path):
        if path.exists():
            return False
        temp = _write_temp(path, content, durable=durable)
        try:
            os.link(temp, path)
        except FileExistsError:
            # A network file system whose answer was lost asks again, and meets its own link.
            if os.stat(temp).st_nlink == 1:
                return False
        except OSError as error:
            # File systems without hard links (exFAT, some network mounts): the last writer wins,
            # so a caller that minds reads the file back.
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            os.replace(temp, path)
        finally:
            temp.unlink(missing_ok=True)
        if durable:
            _sync_folder(path.parent)
        return True


def append_line(path: str | os.PathLike[str], line: bytes) -> None:
    """Adds a line to a file, made with its folders if need be; the whole line or nothing of it.

    Errors are those of `write_atomic`.
    """
    path = Path(path)
    with one_line_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            before, left = os.fstat(descriptor).st_size, line + b"\n"
            try:
                while left:
                    left = left[os.write(descriptor, left) :]
            except OSError:
                os.ftruncate(descriptor, before)
                if not before:
                    path.unlink(missing_ok=True)
                raise
        finally:
            os.close(descriptor)


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Makes the folder if need be and writes a file in it; raises InputError if that fails."""
    probe(Path(folder))


def probe(folder: Path, *, durable: bool = True) -> None:
    """Writes a file in a folder and removes it; raises InputError if that fails.

    `durable` is as for `write_atomic`.
    """
    with one_line_errors(folder):
        _write_temp(folder / "probe", b"", durable=durable).unlink(missing_ok=True)


def remove_stale_temps(folder: str | os.PathLike[str]) -> int:
    """Removes what killed writers left in a folder; returns how many files.

    A temporary is stale when its process on this host is gone, or after a day (another host's
    processes cannot be asked, and a process number can be given out again).
    """
    removed = 0
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        if error.errno == errno.ESTALE:  # a network file system's answer to ask again: later
            return 0
        raise
    for entry in entries:
        match = _TEMP.match(entry.name)
        if match is None:
            continue
        try:
            ours = match["host"] == _host()
            old = abs(time.time() - entry.stat(follow_symlinks=False).st_mtime) > DAY_S
            if old or (ours and not _alive(int(match["pid"]))):
                os.unlink(entry.path)
                removed += 1
        except FileNotFoundError:  # its writer, or another cleaner, was faster
            continue
        except OSError as error:
            if error.errno == errno.ESTALE:
                continue
            raise _explained(Path(entry.path), error) from error
    return removed


def _write_temp(path: Path, content: bytes | Writer, *, durable: bool = True) -> Path:
    """Writes the content under a temporary name beside `path`; flushed to the disk if `durable`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temp, "x+b") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    return temp


def _sync_folder(folder: Path) -> None:
    """Makes a rename last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network mounts cannot sync a folder
            raise
    finally:
        os.close(descriptor)


@contextmanager
def one_line_errors(path: Path) -> Iterator[None]:
    """Turns an OSError about `path` into one line that names it."""
    try:
        yield
    except OSError as error:
        if not _concerns(error, path):
            raise
        raise _explained(path, error) from error


@contextmanager
def full_disk_errors(path: Path) -> Iterator[None]:
    """Turns a full disk, also as libraries report it, into one line that names `path`.

    Other errors pass. For work that writes under `path` through functions of other libraries.
    """
    try:
        yield
    except JaxmapError:
        raise
    except Exception as error:
        full = full_disk_error(error, path)
        if full is None:
            raise
        raise full from error


def full_disk_error(error: Exception, path: str | os.PathLike[str]) -> JaxmapError | None:
    """The line about a full disk (or quota, or limit of sizes) that names `path`; None for another
    error.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _OS_ERROR.search(str(error))):
        number = int(found[1] or found[2])
    return _explained(Path(path), OSError(number, "")) if number in _FULL else None


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder in the system's place for temporary files (TMPDIR), removed at the end.

    Raises JaxmapError, in one line, if none can be made or its disk is full.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="jaxmap-")
    except OSError as error:
        raise JaxmapError(
            "no folder can be written for temporary files: free some space, or set TMPDIR to one "
            f"that can ({error.strerror or error})"
        ) from error
    with made as name, full_disk_errors(Path(name)):
        yield Path(name)


def _concerns(error: OSError, path: Path) -> bool:
    """Whether the error came from writing `path`, and not from a file that the writer reads."""
    if error.filename is None:
        return True
    names = [Path(os.fsdecode(one)) for one in (error.filename, error.filename2) if one is not None]
    return any(
        name in (path, *path.parents)
        or name.parent == path
        or (name.parent == path.parent and name.name.startswith(f".{path.name}."))
        for name in names
    )


def _explained(path: Path, error: OSError) -> JaxmapError:
    reason = _REASONS.get(error.errno or 0)
    if reason is None:
        return JaxmapError(f"{path}: cannot be written: {error.strerror or error}")
    kind = JaxmapError if error.errno in _FULL else InputError
    return kind(f"{path}: cannot be written: {reason}")


def _host() -> str:
    return re.sub(r"\W", "_", socket.gethostname(), flags=re.ASCII) or "host"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
