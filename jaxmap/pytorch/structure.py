"""The parts of a transformers model that scoring asks for: body, head and blocks.

No class of transformers is known here by name: parts are found in the model and tried on a few
tokens. The head, and whatever the model does to its logits, is run apart from the body by letting
the body return given states; a block is skipped by letting it return a given state.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from jaxmap.errors import InputError

_TRIAL = 8  # tokens on which a structure is tried
# Two results are the same if they differ by less than this share of the largest number.
_SAME = {4: 1e-5, 2: 1e-2}  # by bytes of a number
# What a model may raise that is run in a way for which it was not written.
_BROKEN = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)


# The attribute of a config that is the number of blocks, where num_hidden_layers is another number.
_LAYERS = {"longcat_flash": "num_layers"}


class _Reached(Exception):
    """Ends a forward pass where the body is done, before the head."""


class Structure:
    """A model's parts; `name` stands for the model in messages."""

    def __init__(self, module: Any, name: str):
        self.module = module
        self.name = name
        self._body: Any = None
        self._output: Any = None  # what the body gave on the trial, whose form others copy

    @property
    def num_layers(self) -> int | None:
        """L as its config says; None if it does not."""
        config = self.module.config.get_text_config()
        key = _LAYERS.get(getattr(config, "model_type", ""), "num_hidden_layers")
        count = getattr(config, key, None)
        return count if isinstance(count, int) else None

    @cached_property
    def blocks(self) -> Any:
        """The list of its L blocks; raises InputError if layers cannot be read from such a list."""
        import torch

        lists = [m for m in self.module.modules() if isinstance(m, torch.nn.ModuleList)]
        why = f"it has no list of {self.num_layers} blocks"
        for blocks in lists:
            if len(blocks) == self.num_layers:
                try:
                    found = self._why_not(blocks)
                except _BROKEN as error:
                    found = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                if not found:
                    return blocks
                why = found
        raise InputError(f"{self.name}: its layers cannot be read (`lens`): {why}")

    @cached_property
    def length_matters(self) -> bool:
        """Whether a text's numbers depend on the length of its batch, as with dynamic rope."""
        return _mentions(self.module.config.to_dict(), ("dynamic", "longrope", "su"))

    def logits(self, ids_BT: Any) -> Any:
        """Logits of a batch in whole, [B, T, V]; for few tokens only."""
        return self.module(**self._inputs(ids_BT)).logits

    def check_causal(self) -> None:
        """Raises InputError if an earlier token's logits change with a later token.

        Such a model predicts nothing: its score of a text would not be a likelihood.
        """
        import torch

        ids_1T = self.trial()
        other_1T = ids_1T.clone()
        other_1T[0, -1] = ids_1T[0, 0]
        with torch.inference_mode():
            try:
                one, other = self.logits(ids_1T), self.logits(other_1T)
            except _BROKEN as error:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                raise InputError(f"{self.name}: cannot be run: {reason}") from error
        if not _same(one[:, :-1], other[:, :-1]):
            raise InputError(
                f"{self.name}: its predictions see the tokens after them: it is no causal "
                "language model, and its scores would not be likelihoods"
            )

    def states(self, ids_BT: Any) -> Any:
        """What the head reads, after the final norm, [B, T, D]; no logits are computed."""
        self._prepare()
        return self._reach(ids_BT)

    def _prepare(self) -> None:
        """Finds the body, and ends what dynamic rope remembers of longer texts."""
        self._find_body()
        if self.length_matters:
            self.module(**self._inputs(self.trial()[:, :1]))

    def _reach(self, ids_BT: Any) -> Any:
        kept: list[Any] = []
        real = self._body.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            kept.append(_first(real(*args, **kwargs)))
            raise _Reached

        with _forward(self._body, forward), contextlib.suppress(_Reached):
            self.module(**self._inputs(ids_BT))
        return kept[0]

    def logits_of(self, state_MD: Any) -> Any:
        """The logits of M states that `states` gave, by the model's own head, [M, V]."""
        self._find_body()
        made = _with_first(self._output, state_MD[None])
        ids_1M = self.trial().new_zeros((1, len(state_MD)))
        with _forward(self._body, lambda *args, **kwargs: made):
            return self.module(**self._inputs(ids_1M)).logits[0]

    def layer_states(self, ids_BT: Any) -> Iterator[Any]:
        """What the head would read if the model ended before each block, and what it reads.

        Yields [B, T, D] L + 1 times, the embedding first: the state before a block takes the place
        of what the last block gives, so that the model does to it what it does after its last.
        """
        blocks = self.blocks
        self._prepare()
        before: list[Any] = []
        outputs: list[Any] = []
        with _watched(blocks, before, outputs):
            last = self._reach(ids_BT)
        for state in before:
            with _ending_with(blocks, state, outputs):
                yield self._reach(ids_BT)
        yield last

    # Inside

    def trial(self) -> Any:
        """Some ids on which a structure is tried, [1, T]."""
        import torch

        V = self.module.get_input_embeddings().weight.shape[0]
        ids = (torch.arange(_TRIAL, device=self.module.device) * 7 + 3) % V
        return ids[None]

    def _inputs(self, ids_BT: Any) -> dict[str, Any]:
        known = inspect.signature(self.module.forward).parameters
        found: dict[str, Any] = {"input_ids": ids_BT}
        if "use_cache" in known:
            found["use_cache"] = False
        if "attention_mask" in known:
            # Of ones: a model that makes its own would leave out tokens of the padding's id.
            found["attention_mask"] = ids_BT.new_ones(ids_BT.shape)
        return found

    def _find_body(self) -> None:
        """Finds the part before the head, by trying: whose states alone decide the logits."""
        import torch

        if self._body is not None:
            return
        ids_1T = self.trial()
        body = self.module.base_model
        named = (getattr(body, name, None) for name in ("decoder", "model", "language_model"))
        candidates = [one for one in (body, *named) if isinstance(one, torch.nn.Module)]
        candidates = [one for one in candidates if one is not self.module]
        with torch.inference_mode():
            wanted = self.logits(ids_1T)
            for candidate in candidates:
                outputs: list[Any] = []
                with _watched([candidate], [], outputs):
                    self.module(**self._inputs(ids_1T))
                if not outputs or getattr(_first(outputs[0]), "ndim", 0) != 3:
                    continue
                self._body, self._output = candidate, outputs[0]
                with contextlib.suppress(*_BROKEN):
                    if _same(self.logits_of(_first(outputs[0])[0]), wanted[0]):
                        return
        self._body = None
        raise InputError(
            f"{self.name}: its head cannot be run apart from the rest, so that its logits would "
            "be in memory for all tokens at once"
        )

    def _why_not(self, blocks: Any) -> str:
        """Why layers cannot be read from these blocks; "" if they can."""
        import torch

        before: list[Any] = []
        outputs: list[Any] = []
        with torch.inference_mode():
            self._prepare()
        with torch.inference_mode(), _watched(blocks, before, outputs):
            wanted = self._reach(self.trial())
        if not len(before) == len(outputs) == len(blocks):
            return "its blocks are not called once each"
        if any(getattr(state, "ndim", 0) < 3 for state in before):
            return "its blocks do not take the states first"
        with torch.inference_mode(), _ending_with(blocks, _first(outputs[-1]), outputs):
            found = self._reach(self.trial())
        return "" if _same(found, wanted) else "its output is no function of its last block's"


@contextlib.contextmanager
def _ending_with(blocks: Any, state: Any, outputs: Sequence[Any]) -> Iterator[None]:
    """Every block returns `state`, in the form of what it returned before."""
    with contextlib.ExitStack() as stack:
        for block, output in zip(blocks, outputs, strict=True):
            made = _with_first(output, state)
            stack.enter_context(_forward(block, lambda *args, made=made, **kwargs: made))
        yield


@contextlib.contextmanager
def _watched(blocks: Any, before: list[Any], outputs: list[Any]) -> Iterator[None]:
    """Keeps the state before each block, and what each returns, while the context lasts."""

    def entering(module: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        state = args[0] if args else kwargs.get("hidden_states")
        if hasattr(module, "pre_ln"):  # RWKV's norm of the embedding, inside its first block
            state = module.pre_ln(state)
        before.append(state if state is None else state.clone())  # which may be added to

    def leaving(module: Any, args: Any, output: Any) -> None:
        outputs.append(output)

    with contextlib.ExitStack() as stack:
        for block in blocks:
            hook = block.register_forward_pre_hook(entering, with_kwargs=True)
            stack.callback(hook.remove)
            stack.callback(block.register_forward_hook(leaving).remove)
        yield


@contextlib.contextmanager
def _forward(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Replaces what a module does, while the context lasts."""
    before = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before


def _first(output: Any) -> Any:
    """The states in what a module returns: a tensor, a tuple or list, or a dataclass of them."""
    import torch

    if isinstance(output, torch.Tensor):
        return output
    return output[0]


def _with_first(output: Any, state: Any) -> Any:
    """What a module returned, with other states."""
    import torch
    from transformers.utils import ModelOutput

    if isinstance(output, torch.Tensor):
        return state
    if isinstance(output, ModelOutput):
        return type(output)(**{**output, next(iter(output)): state})
    return type(output)((state, *output[1:]))


def _same(one: Any, other: Any) -> bool:
    if one.shape != other.shape:
        return False
    bound = _SAME[min(one.element_size(), 4)]
    one, other = one.float(), other.float()
    return bool((one - other).abs().max() <= bound * other.abs().max())


def _mentions(value: Any, kinds: Sequence[str]) -> bool:
    """Whether a config has a rope of one of these kinds, anywhere in it."""
    if isinstance(value, dict):
        return any(
            (key in ("rope_type", "type") and one in kinds) or _mentions(one, kinds)
            for key, one in value.items()
        )
    return isinstance(value, list | tuple) and any(_mentions(one, kinds) for one in value)
