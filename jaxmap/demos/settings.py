"""All numbers of the demo. configs/demo.py and `jaxmap demo` both start here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from jaxmap.errors import InputError
from jaxmap.precision import PRECISIONS
from jaxmap.variant import QUANTISATIONS


@dataclass(frozen=True)
class ModelSize:
    """One model size: width D, layers L, heads H, and its peak learning rate."""

    width: int
    layers: int
    heads: int
    learning_rate: float


@dataclass(frozen=True)
class DemoConfig:
    """A Pythia in miniature: what is trained, on what, and what is scored.

    Optimiser shape from Biderman et al. 2023 (2304.01373), table 6: AdamW with betas
    (0.9, 0.95), epsilon 1e-8, weight decay 0.1, gradients clipped to norm 1, linear warmup,
    cosine decay to a tenth. Pythia warms up for 1 % of its 143,000 steps; a hundredth of these
    few would not be seen, so the warmup here is an eighth.
    """

    # Held-out texts, scored with every checkpoint.
    texts: int = 192
    min_bytes: int = 256
    max_bytes: int = 384
    text_seed: int = 42
    held_out: float = 0.1  # share of documents kept from training
    # Training corpus and tokenizer.
    train_bytes: int = 1_400_000  # about one pass in `steps`, as Pythia's first
    vocabulary: int = 1024
    context: int = 512  # more than any text has tokens; positions are rotary, so none is learnt
    # Training: `rows` windows of `window` tokens a step.
    window: int = 256
    rows: int = 2
    steps: int = 1024
    warmup: int = 128
    every: int = 64  # checkpoints at 0, 1, 2, 4, ..., early, then every so many steps
    early: int = 512
    seeds: int = 3  # runs of the smallest size
    # Steps of the first run's continuations: a second stage after its end, and a branch that leaves
    # it half-way; a run of less than twice as many has neither.
    stage_steps: int = 128
    # Steps of fine-tuning the largest model, with all weights and as an adapter; 0: neither these
    # nor releases and GGUF files are made.
    finetune_steps: int = 64
    final_learning_rate: float = 0.1  # as a share of the peak
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.1
    clip: float = 1.0
    sizes: dict[str, ModelSize] = dataclasses.field(
        default_factory=lambda: {
            "xs": ModelSize(width=32, layers=3, heads=2, learning_rate=5e-3),
            "s": ModelSize(width=48, layers=4, heads=3, learning_rate=4e-3),
            "m": ModelSize(width=80, layers=5, heads=5, learning_rate=3e-3),
        }
    )
    # What is scored of the last checkpoint of every run beside itself: each layer through the
    # logit lens, and copies with 8-bit or 4-bit weights.
    lens: bool = True
    quantize: tuple[str, ...] = ("int8", "nf4", "fp4")
    # The precisions in which the last checkpoint of the largest run is scored too.
    dtypes: tuple[str, ...] = ("bfloat16", "float16")
    # A kill loses at most about this much training; 0 keeps the state at every checkpoint.
    state_seconds: float = 10.0

    def __post_init__(self) -> None:
        for name in (
            "texts",
            "vocabulary",
            "context",
            "window",
            "rows",
            "steps",
            "warmup",
            "every",
            "seeds",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"demo config: {name} must be at least 1")
        if self.finetune_steps < 0:
            raise InputError("demo config: finetune_steps is negative; 0: no derived models")
        if not 0 < self.held_out < 1:
            raise InputError("demo config: held_out must lie between 0 and 1")
        if self.warmup > self.steps:
            raise InputError("demo config: warmup is longer than steps")
        if self.window > self.context:
            raise InputError("demo config: window is longer than context")
        if not self.sizes:
            raise InputError("demo config: sizes is empty")
        for name, known in (("quantize", QUANTISATIONS[1:]), ("dtypes", tuple(PRECISIONS))):
            for one in getattr(self, name):
                if one not in known:
                    raise InputError(
                        f"demo config: {name}: {one!r} is unknown; known: {', '.join(known)}"
                    )
        for name, size in self.sizes.items():
            if size.width % size.heads or int(size.width // size.heads * 0.25) % 2:
                raise InputError(
                    f"demo config: sizes.{name}: width / heads must be a multiple of 8, so that "
                    "a quarter of it can be rotated in pairs"
                )

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Steps at which a checkpoint is saved, as Pythia: 0, 1, 2, 4, ..., then evenly."""
        steps = {0, self.steps}
        power = 1
        while power <= min(self.early, self.steps):
            steps.add(power)
            power *= 2
        steps.update(range(self.early + self.every, self.steps, self.every))
        return tuple(sorted(steps))

    @property
    def runs(self) -> dict[str, tuple[str, int]]:
        """Name of each run: its size and its seed, small to large."""
        runs = {}
        for place, size in enumerate(self.sizes):
            for seed in range(self.seeds if place == 0 else 1):
                runs[f"pythia-demo-{size}" + (f"-seed{seed}" if seed else "")] = (size, seed)
        return runs

    @property
    def fingerprint(self) -> str:
        """sha256 of everything that the models and their own scores depend on."""
        facts = dataclasses.asdict(self)
        for name in ("state_seconds", "lens", "quantize", "dtypes"):
            del facts[name]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def to_dict(config: DemoConfig) -> dict[str, Any]:
    """The config as plain values, for an ml_collections ConfigDict or JSON."""
    return dataclasses.asdict(config)


def from_dict(values: dict[str, Any]) -> DemoConfig:
    """A config from plain values (a ConfigDict's `to_dict()`); unknown keys are refused."""
    known = {field.name for field in dataclasses.fields(DemoConfig)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(f"demo config: unknown {', '.join(unknown)}; known: {sorted(known)}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    if "sizes" in values:
        try:
            values["sizes"] = {name: ModelSize(**size) for name, size in values["sizes"].items()}
        except TypeError as error:
            raise InputError(f"demo config: sizes: {error}") from None
    return DemoConfig(**values)
