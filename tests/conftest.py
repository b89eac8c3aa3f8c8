"""Settings of every test process; helpers are plain modules in tests/support.

Programs of tests are compiled for one tiny run each, so a compiler that takes pains costs more than
it saves: without LLVM's optimisations, with XLA's older emitter of fused loops instead of the one
through MLIR, and with a module for a thread instead of 32, compiling a scorer takes a third of the
processor time. It changes roundings in the last bit at most. XLA_FLAGS that name the level of
optimisation win; `make parity` and `make test-all` compile as users do.
"""

import os
from importlib.metadata import version

import numpy as np
import pytest

LEVEL = "--xla_backend_optimization_level"
_OLDER_EMITTER = "--xla_cpu_use_fusion_emitters=false"
_ONE_MODULE = "--xla_cpu_parallel_codegen_split_count=1"
# XLA ends the process at a flag that it does not know: those that each version of jaxlib has.
CHEAPER = {(0, 10): (_OLDER_EMITTER, _ONE_MODULE), (0, 11): (_ONE_MODULE,)}.get(
    tuple(int(part) for part in version("jaxlib").split(".")[:2]), ()
)


def _without_ours(flags: str) -> list[str]:
    return [flag for flag in flags.split() if flag not in CHEAPER and not flag.startswith(LEVEL)]


# PyTorch's threads wait for one another longer than they compute, on models of this size.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if LEVEL not in os.environ.get("XLA_FLAGS", ""):
    others = _without_ours(os.environ.get("XLA_FLAGS", ""))
    os.environ["XLA_FLAGS"] = " ".join([*others, f"{LEVEL}=0", *CHEAPER])


@pytest.fixture
def optimised(monkeypatch):
    """Programs that the test starts compile as a user's do: for what measures speed."""
    monkeypatch.setenv("XLA_FLAGS", " ".join(_without_ours(os.environ["XLA_FLAGS"])))
    monkeypatch.delenv("OMP_NUM_THREADS")


@pytest.fixture
def strict():
    """Arrays of two dtypes or of two ranks are not promoted in silence: it is an error."""
    import jax

    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def _generators(module):
    return [value for value in vars(module).values() if isinstance(value, np.random.Generator)]


_AS_IMPORTED: dict[str, list] = {}  # module -> the states of its generators


def pytest_collection_modifyitems(items):
    for module in {item.module for item in items}:
        states = [generator.bit_generator.state for generator in _generators(module)]
        _AS_IMPORTED[module.__name__] = states


@pytest.fixture(autouse=True)
def same_random_numbers(request):
    """A module's generators begin anew for each test: what a test draws is what it draws alone,
    whatever ran before it in the process."""
    states = _AS_IMPORTED[request.module.__name__]
    for generator, state in zip(_generators(request.module), states, strict=True):
        generator.bit_generator.state = state
