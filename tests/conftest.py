"""Settings of every test process; helpers are plain modules in tests/support.

Programs of tests are compiled for one tiny run each, so LLVM's optimisations cost more than they
save: a third of the processor time of the parity tests. They change roundings in the last bit at
most. XLA_FLAGS that name the level themselves win; `make parity` and `make test-all` compile as
users do.
"""

import os

import numpy as np
import pytest

LEVEL = "--xla_backend_optimization_level"

if LEVEL not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {LEVEL}=0".strip()


@pytest.fixture
def optimised(monkeypatch):
    """Programs that the test starts compile as a user's do: for what measures speed."""
    flags = os.environ["XLA_FLAGS"].split()
    kept = [flag for flag in flags if not flag.startswith(LEVEL)]
    monkeypatch.setenv("XLA_FLAGS", " ".join(kept))


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
