"""The state of a training, kept with Orbax: STATES/stepN, of which the newest counts.

One thread at a time: Orbax makes folders in a way that two at once trip over.
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
    """Keeps the state at a step, and no older one."""
    states.mkdir(parents=True, exist_ok=True)
    for path in states.iterdir():  # what a kill in the middle of a save left
        if not _STEP_FOLDER.match(path.name):
            shutil.rmtree(path)
    with _quiet():
        from orbax.checkpoint import v1 as ocp

        ocp.save(states.absolute() / f"step{step}", _named(state), overwrite=True)
    for path in states.iterdir():
        if path.name != f"step{step}":
            shutil.rmtree(path)


def load_state(states: Path, step: int, like: State) -> State:
    """The state at a step, with the structure, shapes, dtypes and shardings of `like`."""
    wanted = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
        for name, leaf in _named(like).items()
    }
    with _quiet():
        from orbax.checkpoint import v1 as ocp

        loaded = ocp.load(states.absolute() / f"step{step}", wanted)
    # A copy: what was read may share memory with the reader, and a step's state is donated.
    leaves = [jnp.array(loaded[name], copy=True) for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def newest_state(states: Path, most: float = float("inf")) -> int:
    """The latest step with a state that is no later than `most`, or 0.

    What a kill in the middle of a save left is not a state.
    """
    names = [path.name for path in states.iterdir()] if states.is_dir() else []
    steps = [int(match[1]) for name in names if (match := _STEP_FOLDER.match(name))]
    return max((step for step in steps if step <= most), default=0)


def _named(state: Any) -> dict[str, Any]:
    """Name -> leaf, in the order of the tree's leaves."""
    return {
        jax.tree_util.keystr(path, simple=True, separator=".").strip("."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Orbax's account of each save out of the progress bar; its warnings are shown."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
