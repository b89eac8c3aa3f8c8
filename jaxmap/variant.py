"""The variant that a result belongs to: engine, precision, quantisation, layer and lens."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from jaxmap.errors import InputError
from jaxmap.precision import PRECISIONS

# What a model is scored as: itself, or a copy with its linear layers in 8 or 4 bit.
QUANTISATIONS = ("none", "int8", "nf4", "fp4")

# What computes a score: this package's decoder on JAX, or transformers' model on PyTorch.
JAX, TORCH = "jax", "torch"
ENGINES = (JAX, TORCH)

AUTO = "auto"  # the default precision of a checkpoint on a platform
LOGIT, TUNED = "logit", "tuned"  # lenses; TUNED: one whose translators are not known

_SUFFIX = re.compile(
    rf"(?P<name>.*?)(?:\+(?P<precision>{'|'.join(map(re.escape, PRECISIONS))}))?"
    rf"(?:\+(?P<quantisation>{'|'.join(QUANTISATIONS[1:])}))?"
    rf"(?:\+(?P<engine>{TORCH}))?(?P<tuned>\+tuned)?"
    r"(?:#(?:layer(?P<layer>\d+)|(?P<every>lens)))?",
    re.ASCII | re.DOTALL,
)


@dataclass(frozen=True)
class Variant:
    """A version of a checkpoint: its own output in its default precision, or something else.

    In a request, a lens without a layer means the output and every layer.
    """

    precision: str = AUTO  # of PRECISIONS, or auto: the default
    quantisation: str = "none"  # of QUANTISATIONS
    layer: int | None = None  # None: the output; 0: the embedding; 1 to L: after a layer
    lens: str = ""  # "logit", or the sha256 of a tuned lens' translators; "": none
    engine: str = JAX  # of ENGINES

    def __post_init__(self) -> None:
        if self.layer is not None and not self.lens:
            object.__setattr__(self, "lens", LOGIT)

    @property
    def is_output(self) -> bool:
        """Whether it is the model's own output, of a quantised copy too."""
        return self.layer is None

    @property
    def is_layer(self) -> bool:
        """Whether it is a layer, read through a lens."""
        return self.layer is not None

    @property
    def is_quantised(self) -> bool:
        """Whether the weights were quantised here."""
        return self.quantisation != "none"

    @property
    def is_tuned(self) -> bool:
        """Whether layers are read through a tuned lens."""
        return self.lens not in ("", LOGIT)

    @property
    def is_own_output(self) -> bool:
        """Whether it is the output of the model itself, in whatever precision."""
        return self.is_output and not self.is_quantised

    @property
    def is_own_layer(self) -> bool:
        """Whether it is a layer of the model itself, through the logit lens."""
        return self.is_layer and not self.is_quantised and not self.is_tuned

    @property
    def is_plain(self) -> bool:
        """Whether it is the output of the model itself in its default precision."""
        return self.is_own_output and self.precision == AUTO

    @property
    def own_output(self) -> Variant:
        """The model's own output by the same engine in the same precision."""
        return Variant(self.precision, engine=self.engine)

    @property
    def tuned(self) -> str:
        """The sha256 of a tuned lens' translators; "" for the logit lens and for none."""
        return self.lens if self.is_tuned else ""

    @property
    def of_any_lens(self) -> Variant:
        """The same of TUNED: equal for two tuned lenses."""
        return replace(self, lens=TUNED) if self.is_tuned else self

    @property
    def label(self) -> str:
        """What follows a checkpoint's name: `+bfloat16+int8`, `+torch#layer03`."""
        text = "" if self.precision == AUTO else f"+{self.precision}"
        text += f"+{self.quantisation}" if self.is_quantised else ""
        text += f"+{self.engine}" if self.engine != JAX else ""
        text += "+tuned" if self.is_tuned else ""
        if self.layer is not None:
            return f"{text}#layer{self.layer:02d}"
        return f"{text}#lens" if self.lens else text

    @property
    def order(self) -> tuple[object, ...]:
        """A key that sorts the variants of one checkpoint, the plain one first."""
        return (
            ENGINES.index(self.engine),
            self.is_quantised,
            self.quantisation,
            self.precision != AUTO,
            self.precision,
            self.is_tuned,
            -1 if self.layer is None else self.layer,
            self.lens,
        )

    @classmethod
    def parse(cls, label: str) -> tuple[str, Variant]:
        """The name of a checkpoint and the variant that a label names: the inverse of `label`.

        A label does not say which tuned lens it means; its lens is TUNED.
        """
        match = _SUFFIX.fullmatch(label)
        assert match is not None  # every part but the name may be absent
        layer = None if match["layer"] is None else int(match["layer"])
        lens = TUNED if match["tuned"] else LOGIT if layer is not None or match["every"] else ""
        return match["name"], cls(
            match["precision"] or AUTO,
            match["quantisation"] or "none",
            layer,
            lens,
            match["engine"] or JAX,
        )


PLAIN = Variant()


def check_engine(name: str) -> str:
    """The name of an engine itself; InputError for an unknown one."""
    if name not in ENGINES:
        raise InputError(f"{name!r} is unknown; known: {', '.join(ENGINES)}", field="engine")
    return name


def parse_quantisations(names: Iterable[str]) -> tuple[str, ...]:
    """The given quantisations, each once; InputError lists the known ones."""
    names = tuple(dict.fromkeys(names))
    known = ", ".join(QUANTISATIONS)
    for name in names:
        if name not in QUANTISATIONS:
            raise InputError(f"{name!r} is unknown; known: {known}", field="quantize")
    if not names:
        raise InputError(f"names nothing; known: {known}", field="quantize")
    return names
