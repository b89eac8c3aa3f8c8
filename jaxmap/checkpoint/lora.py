"""LoRA adapters (Hu et al. 2021, arXiv:2106.09685), rsLoRA and DoRA, added to a base model.

The weight is W + (B A) alpha / r, or alpha / sqrt(r) for rsLoRA (arXiv:2312.03732); DoRA
(arXiv:2402.09353) then scales each row to a learnt length. Complete tensors in an adapter
(modules_to_save, biases) replace those of the base.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jaxmap.architectures.config import Config, read_json
from jaxmap.checkpoint.encodings.base import Arrays, weight_of
from jaxmap.checkpoint.formats.adapter import CONFIG
from jaxmap.checkpoint.formats.base import Stored, behind_link
from jaxmap.errors import InputError

_PART = re.compile(
    r"(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B|magnitude_vector)"
    r"(?:\.default)?(?:\.weight)?"
)
# Settings that need a changed base, or that are not a product added to the weight.
_REFUSED = """alora_invocation_tokens arrow_config bdlora_config corda_config exclude_from_base
    kappa_tuner_config layer_replication loftq_config lora_bias lora_ga_config megatron_config
    monteclora_config target_parameters trainable_token_indices use_bdlora use_qalora""".split()
_INERT = """auto_mapping base_model_name_or_path bias ensure_weight_tying eva_config
    exclude_modules inference_mode layers_pattern layers_to_transform lora_dropout megatron_core
    modules_to_save peft_version qalora_group_size revision runtime_config target_modules
    task_type velora_config init_lora_weights""".split()
_OF_THE_BASE = (
    "pissa",
    "olora",
    "corda",
    "loftq",
    "lora_ga",
)  # initialisations that change the base


# What PEFT puts into the names of tensors that an adapter holds whole.
_WHOLE = re.compile(r"\.(?:modules_to_save(?:\.default)?|original_module|base_layer)(?=\.)")


@dataclass(frozen=True)
class LoraAdapter:
    """The content of adapter_config.json, and the adapter's tensors."""

    facts: Config
    tensors: Mapping[str, Stored]


def read_adapter(folder: Path, tensors: Mapping[str, Stored]) -> LoraAdapter:
    """Reads and checks the settings of an adapter.

    Raises InputError for adapters other than LoRA, and for settings that are not supported.
    """
    path = behind_link(folder / CONFIG)
    facts = Config(read_json(path), str(path))
    kind = facts.get("peft_type")
    if kind != "LORA":
        raise InputError(f"{path}: peft_type = {kind!r}; only LORA is read")
    for key in _REFUSED:
        if value := facts.get(key):
            raise InputError(f"{path}: {key} = {value!r:.60} is not read")
    begin = facts.get("init_lora_weights")
    if isinstance(begin, str) and begin.lower().startswith(_OF_THE_BASE):
        raise InputError(f"{path}: init_lora_weights = {begin!r} changed the base; merge it first")
    for key in ("r", "lora_alpha"):
        value = facts[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
            raise InputError(f"{path}: {key} = {value!r}: must be a number above 0")
    for key in ("rank_pattern", "alpha_pattern"):
        value = facts.get(key) or {}
        if not isinstance(value, dict) or not all(
            isinstance(one, int | float) and one > 0 for one in value.values()
        ):
            raise InputError(f"{path}: {key} = {value!r:.60}: must be numbers above 0 by module")
    facts.get("use_rslora"), facts.get("use_dora"), facts.get("fan_in_fan_out")
    facts.inert(*_INERT)
    facts.inert(*(key for key in facts if not facts.peek(key)))  # settings that are off
    facts.check_all_read()
    return LoraAdapter(facts, tensors)


def merged(
    base: Mapping[str, Stored], adapter: LoraAdapter, prefix: str, *, tied: tuple[str, str] | None
) -> dict[str, Stored]:
    """The base's tensors with the adapter's added.

    Args:
      base: tensors of floats.
      adapter: the adapter, as it was read.
      prefix: the beginning of all names in a whole model, which the base's files may lack.
      tied: the names of the embedding and of the head if they are one tensor. As PEFT does, an
        adapter that changes one of them leaves the other alone, unless it says
        `ensure_weight_tying`.

    Raises:
      InputError: for parts that are missing, or that the base has no place for.
    """
    found, sums = dict(base), dict[str, dict[str, Stored]]()
    if tied is not None:
        found |= _second_of_a_pair(base, tied, prefix)
    ends = tuple(_in_base(name, found, prefix) or name for name in tied or ())
    before = dict(found)
    for full, stored in adapter.tensors.items():
        name = full.removeprefix("base_model.model.")
        if match := _PART.fullmatch(name):
            sums.setdefault(match["module"], {})[match["part"]] = stored
        elif "lora_" in name:
            raise InputError(f"{stored.file}: {full} is a part of LoRA that is not supported")
        else:
            own = _WHOLE.sub("", name)
            place = _in_base(own, before, prefix) or own
            found[place] = stored
            # Saved with an embedding that LoRA changes: the base's own, perhaps resized.
            if ".base_layer." in name and place in ends and before[ends[0]] is before[ends[1]]:
                before[ends[0]] = before[ends[1]] = stored
                found[ends[0]] = found[ends[1]] = stored
    for module, parts in sums.items():
        file = next(iter(parts.values())).file
        if (target := _in_base(f"{module}.weight", before, prefix)) is None:
            raise InputError(f"{file}: the base has no {module}.weight, which the adapter changes")
        embeds = "embedding_A" in parts or "embedding_B" in parts
        found[target] = _sum(target, found[target], parts, adapter.facts, module, embeds)
    if ends:
        _tie(found, before, ends, always=bool(adapter.facts.peek("ensure_weight_tying")))
    return found


def _second_of_a_pair(
    base: Mapping[str, Stored], tied: tuple[str, str], prefix: str
) -> dict[str, Stored]:
    """The name that a file with one tensor for embedding and head lacks, with that tensor."""
    bare = not any(name.startswith(prefix) for name in base)
    there = [_in_base(name, base, prefix) for name in tied]
    for name, own, other in zip(tied, there, reversed(there), strict=True):
        if own is None and other is not None:
            return {name.removeprefix(prefix) if bare else name: base[other]}
    return {}


def _tie(
    found: dict[str, Stored], before: Mapping[str, Stored], ends: tuple[str, ...], *, always: bool
) -> None:
    """Leaves one tensor where embedding and head are still one."""
    embed, head = ends
    if always and found[embed] is not before[embed]:
        found[head] = found[embed]
    if found[embed] is found[head]:
        del found[head]


def _in_base(name: str, base: Mapping[str, Stored], prefix: str) -> str | None:
    names = (name, name.removeprefix(prefix), prefix + name)
    return next((one for one in names if one in base), None)


def _of(pattern: object, module: str, default: float) -> float:
    """The value for the first pattern that matches the end of a module's name, as in PEFT."""
    for key, value in pattern.items() if isinstance(pattern, dict) else ():
        try:
            if re.fullmatch(rf"(.*\.)?({key})", module):
                return value
        except re.error:
            if module == key or module.endswith(f".{key}"):
                return value
    return default


def _sum(
    name: str,
    weight: Stored,
    parts: dict[str, Stored],
    facts: Config,
    module: str,
    embeds: bool,
) -> Stored:
    pair = ("embedding_A", "embedding_B") if embeds else ("A", "B")
    dora = bool(facts.get("use_dora"))
    wanted = (*pair, "magnitude_vector") if dora else pair
    file = next(iter(parts.values())).file
    for part in wanted:
        if part not in parts:
            raise InputError(f"{file}: {module} lacks its lora_{part}")
    if left := set(parts) - set(wanted):
        raise InputError(f"{file}: {module}.lora_{min(left)} does not go with the settings")
    a, b = (parts[part].shape for part in pair)
    turned = embeds or bool(facts.get("fan_in_fan_out"))
    shape = weight.shape[::-1] if turned else weight.shape
    if not len(shape) == len(a) == 2 or a[1] != shape[1] or b != (shape[0], a[0]):
        raise InputError(
            f"{file}: {module}: lora A {list(a)} and B {list(b)} do not fit a weight of "
            f"{list(weight.shape)}"
        )
    if dora and math.prod(parts["magnitude_vector"].shape) != shape[0]:
        raise InputError(
            f"{file}: {module}.lora_magnitude_vector has shape "
            f"{list(parts['magnitude_vector'].shape)}: must be {shape[0]} numbers"
        )
    rank = _of(facts.get("rank_pattern"), module, facts["r"])
    if rank != a[0]:
        raise InputError(f"{file}: {module}: lora A has rank {a[0]}, {CONFIG} says {rank}")
    alpha = _of(facts.get("alpha_pattern"), module, facts["lora_alpha"])
    scale = alpha / (math.sqrt(rank) if facts.get("use_rslora") else rank)
    needed = {"weight": weight, **{part: parts[part] for part in wanted}}
    decode = partial(_added, turned=turned, scale=scale, pair=pair)
    return weight_of(name, needed, weight.shape, decode, "LoRA")


def _added(parts: Arrays, *, turned: bool, scale: float, pair: tuple[str, ...]) -> np.ndarray:
    a, b = (parts[part].astype(np.float32) for part in pair)
    change = (b @ a) * np.float32(scale)
    whole = parts["weight"].astype(np.float32) + (change.T if turned else change)
    if "magnitude_vector" in parts:
        axis = 0 if turned else 1
        length = np.linalg.norm(whole, axis=axis, keepdims=True)
        target = parts["magnitude_vector"].astype(np.float32).reshape(length.shape)
        whole *= target / length
    return whole
