"""The state of a training, kept with Orbax: STATES/stepN, of which the newest counts."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging

_STEP_FOLDER = re.compile(r"^step(\d+)$")


def _named(state: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {
        jax.tree_util.keystr(path, simple=True, separator=".").strip("."): leaf
        for path, leaf in leaves
    }


def save_state(states: Path, step: int, state: Any) -> None:
    """Keeps the state at a step, and no older one."""
    from orbax.checkpoint import v1 as ocp

    states.mkdir(parents=True, exist_ok=True)
    with _quiet():
        ocp.save(states.absolute() / f"step{step}", _named(state), overwrite=True)
    for path in _inside(states):
        if path.name != f"step{step}":
            shutil.rmtree(path)


def load_state(folder: Path, like: Any) -> Any:
    from orbax.checkpoint import v1 as ocp

    wanted = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
        _named(like),
    )
    with _quiet():
        loaded = ocp.load(folder.absolute(), wanted)
    # A copy: what was read may share memory with the reader, and a step's state is donated.
    leaves = [jnp.array(loaded[name], copy=True) for name in _named(like)]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Orbax's account of each save out of the progress bar; its warnings are shown."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def newest_state(states: Path) -> int:
    """The latest step with a state, or 0; what a kill in the middle of a save left is not one."""
    return max((int(m[1]) for p in _inside(states) if (m := _STEP_FOLDER.match(p.name))), default=0)


def _inside(states: Path) -> Iterator[Path]:
    return iter(sorted(states.iterdir())) if states.is_dir() else iter(())
