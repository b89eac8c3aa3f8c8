"""Several processes that score together: they find each other, notice lost ones, stop together.

They use JAX's coordination service, without sockets or files of our own. If a process has died or
is frozen, so that the others would wait in a collective operation for ever, they end within half a
minute with a message that names the process, and with an exit code after which launchers run the
same command again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

from jaxmap.errors import InputError, JaxmapError

# Exit codes of a process that cannot be left in any other way than by ending it (`end`); those of
# the command line, which has no other use for them here.
BAD_INPUT = 2
AGAIN = 75  # EX_TEMPFAIL of sysexits.h: run the same command again
SILENCE_S = 12.0  # a process that says nothing for so long is taken for dead
_BEAT_S = 1.0
# JAX aborts the survivors when this runs out; ours comes first, and says who.
_HEARTBEAT_S = 25
_CONNECT_S = 300
_LEAVE_S = 60  # at the end they wait for each other
_ADVICE = "; run the same command again to resume, with as many processes as there are"
_ALIVE = "jaxmap/alive"


def start(address: str | None, count: int | None, index: int | None) -> None:
    """Joins the other processes of this job; for programs, before JAX is used.

    Args:
      address, count, index: host:port of the first process, how many there are, which one this is
        (from 0); all None: as JAX finds out (SLURM, TPU pods, GKE, Open MPI).

    Raises InputError for an incomplete description, JaxmapError when the others are not reached.
    """
    given = {"coordinator_address": address, "num_processes": count, "process_id": index}
    missing = [f"`{name}`" for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise InputError(f"{', '.join(missing)}: missing; the three belong together")
    if not missing:
        assert address is not None
        assert count is not None
        assert index is not None
        if not 0 <= index < count:
            raise InputError(
                f"of {count} processes it is 0 to {count - 1}", field="process_id", value=index
            )
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise InputError("write host:port", field="coordinator_address", value=address)

    import jax

    try:
        jax.distributed.initialize(
            address,
            count,
            index,
            cluster_detection_method=None if missing else "deactivate",
            heartbeat_timeout_seconds=_HEARTBEAT_S,
            initialization_timeout=_CONNECT_S,
            shutdown_timeout_seconds=_LEAVE_S,
        )
    except ValueError as error:
        raise InputError(
            f"JAX finds no other processes ({error}); start them with srun or the like, or give "
            "`coordinator_address`, `num_processes` and `process_id`",
            field="distributed",
        ) from None
    except RuntimeError as error:
        raise JaxmapError(f"the other processes are not reached: {error}") from None
    if jax.process_count() > 1:
        _say_when_the_first_is_gone()
        Watch(client(), jax.process_index(), jax.process_count()).start()


def started() -> bool:
    """Whether `start` has joined this process with others."""
    import jax

    return jax.distributed.is_initialized()


def several() -> bool:
    """Whether this process is one of several."""
    import jax

    return jax.distributed.is_initialized() and jax.process_count() > 1


def first() -> bool:
    """Whether this is the process that decides and writes; True when alone."""
    import jax

    return not several() or jax.process_index() == 0


def client() -> Any:
    """The coordination service: small strings under keys, seen by all processes."""
    from jax._src import distributed  # has no public name

    return distributed.global_state.client


def wait_for(key: str, timeout_s: float | None = None) -> str | None:
    """The string under a key, once it is there; None when it does not come in time."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while deadline is None or time.monotonic() < deadline:
        try:
            return client().blocking_key_value_get(key, 5_000)
        except Exception as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
    return None


def told_to_stop(step: int) -> bool:
    """Whether a SIGTERM has come to any process and this is the step at which all of them stop.

    Every process asks at every step, numbered alike.
    """
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)


def end(code: int, message: str) -> None:
    """Ends this process now: one whose peers hang in a collective cannot be left in any other way.

    A warning, not an exception: nothing that waits for the others may run.
    """
    print(f"jaxmap: {message}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)


def leave(code: int) -> None:
    """Ends this process, if it is one of several, once all of them are at their end.

    Not by way of the interpreter's end: meanwhile threads of the runtime lose their peers, and may
    crash a process that is done.
    """
    if not several():
        return
    import jax

    with contextlib.suppress(RuntimeError):  # one that is gone need not be waited for
        jax.distributed.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Watch(threading.Thread):
    """Says that this process lives, and ends it when another one has not said so for too long."""

    def __init__(self, service: Any, index: int, count: int, silence_s: float = SILENCE_S):
        super().__init__(name="watch", daemon=True)
        self._service = service
        self._index = index
        self._count = count
        self._silence_s = silence_s

    def run(self) -> None:
        """Sends this process's heartbeat; ends the process when another one is silent too long."""
        beats = 0
        said: dict[int, str] = {}  # the last that was heard of each, and when
        heard: dict[int, float] = {}
        reached = time.monotonic()
        while True:
            beats += 1
            now = time.monotonic()
            try:
                mine = f"{beats} {socket.gethostname()} pid {os.getpid()}"
                self._service.key_value_set(f"{_ALIVE}/{self._index}", mine, True)
                found = dict(self._service.key_value_dir_get(f"{_ALIVE}/"))
                reached = time.monotonic()
            except Exception:
                if now - reached > self._silence_s:
                    end(AGAIN, f"process 0 of {self._count} is not reached any more" + _ADVICE)
                time.sleep(_BEAT_S)
                continue
            for key, value in found.items():
                who = int(key.rpartition("/")[2])
                if said.get(who) != value:
                    said[who], heard[who] = value, now
            for who, since in heard.items():
                if who != self._index and now - since > self._silence_s:
                    where = said[who].partition(" ")[2]
                    end(
                        AGAIN,
                        f"process {who} of {self._count} ({where}) has said nothing for "
                        f"{now - since:.0f} s: it died or froze{_ADVICE}",
                    )
            time.sleep(_BEAT_S)


def _say_when_the_first_is_gone() -> None:
    """JAX aborts a process as soon as the one with the coordination service is gone: say so."""
    from jax._src import distributed

    address = distributed.global_state.coordinator_address
    host, _, port = str(address).rpartition(":")

    def on_abort(number: int) -> None:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=3).close()
        except OSError:
            end(AGAIN, f"process 0 ({address}) is gone{_ADVICE}")
        # Some other abort: what follows is the default action.

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(on_abort)
    _HANDLERS.append(handler)  # ctypes does not keep it
    ctypes.CDLL(None).signal(signal.SIGABRT, handler)


_HANDLERS: list[Any] = []
