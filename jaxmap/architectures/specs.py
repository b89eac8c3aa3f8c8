"""From a config.json to the Spec of a model."""

from __future__ import annotations

import numpy as np

from jaxmap.architectures.config import Config
from jaxmap.architectures.registry import family_of
from jaxmap.errors import InputError
from jaxmap.model.mlps.dense import ACTIVATIONS, LEARNED
from jaxmap.model.spec import Spec


def spec_of(config: Config, ignore: tuple[str, ...] = ()) -> Spec:
    """The Spec of a config.json, after checking that each key was read or is inert.

    Args:
      config: the content of config.json.
      ignore: keys that the user declares inert.

    Raises:
      InputError: for an unknown model type, or a missing, contradictory or unread key.
    """
    config.inert("quantization_config")  # describes the numbers, not the architecture
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            spec = family_of(config).spec(config)
    except ArithmeticError as error:
        raise InputError(f"{config.where}: its numbers do not fit together: {error}") from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{config.where}: {error}") from error
    except (LookupError, AttributeError) as error:  # lists and objects of an unexpected shape
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{config.where}: a value has an unexpected form ({reason})") from error
    acts = (spec.act, spec.head_in_act or spec.act)
    for act in (*acts, *(part.act for part in (spec.experts, spec.ssm) if part and part.act)):
        if act not in ACTIVATIONS and not (act in LEARNED and spec.experts is None):
            known = ", ".join(sorted(ACTIVATIONS))
            raise InputError(f"{config.where}: unknown activation {act!r}; known: {known}")
    config.inert(*ignore)
    config.check_all_read()
    return spec
