"""The state of a training, saved with Orbax in STATES/stepN; the newest is resumed.

Only one thread may save at a time: Orbax creates folders in a way that is not safe for two.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from absl import logging

_STEP_FOLDER = re.compile(r"^step(\d+)$")

State = TypeVar("State")  # any tree of arrays


def save_state(states: Path, step: int, state: Any) -> None:
    """Saves the state at a step and deletes older ones."""
    states.mkdir(parents=True, exist_ok=True)
    for path in states.iterdir():  # remains of interrupted saves
        if not _STEP_FOLDER.match(path.name):
            shutil.rmtree(path)
    with _quiet():
        from orbax.checkpoint import v1 as ocp

        ocp.save(states.absolute() / f"step{step}", _named(state), overwrite=True)
    for path in states.iterdir():
        if path.name != f"step{step}":
            shutil.rmtree(path)


def load_state(states: Path, step: int, like: State) -> State:
    """Loads the state at a step, with the structure, shapes, dtypes and shardings of `like`."""
    wanted = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
        for name, leaf in _named(like).items()
    }
    with _quiet():
        from orbax.checkpoint import v1 as ocp

        loaded = ocp.load(states.absolute() / f"step{step}", wanted)
    # A copy, since the arrays may share memory with the reader and the next step donates its state.
    leaves = [jnp.array(loaded[name], copy=True) for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def newest_state(states: Path, most: float = float("inf")) -> int:
    """The latest step, at most `most`, with a saved state; 0 if there is none.

    Remains of an interrupted save do not count.
    """
    names = [path.name for path in states.iterdir()] if states.is_dir() else []
    steps = [int(match[1]) for name in names if (match := _STEP_FOLDER.match(name))]
    return max((step for step in steps if step <= most), default=0)


def _named(state: Any) -> dict[str, Any]:
    """The leaves of a tree by name, in their order."""
    return {
        jax.tree_util.keystr(path, simple=True, separator=".").strip("."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses Orbax's message about each save, but not its warnings."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
