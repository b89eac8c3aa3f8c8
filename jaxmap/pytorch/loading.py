"""From a checkpoint folder to transformers' model, checked; remote code is never run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxmap.architectures.registry import families
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.formats import GGUF, num_bytes, open_tensors, weights_of
from jaxmap.checkpoint.storage import Storage
from jaxmap.errors import InputError
from jaxmap.pytorch.structure import Structure

NEEDED = "needs PyTorch: pip install torch"
DTYPES = ("float32", "bfloat16", "float16")  # the first is the default
_SHOWN = 4  # names of tensors in a message


@dataclasses.dataclass(frozen=True, eq=False)
class TorchModel:
    """A model of transformers in memory.

    Fields:
      module: the model.
      structure: its head, its blocks, and what each may be asked for.
      model_type: the model_type of config.json.
      dtype: of its weights and activations, one of DTYPES.
      stored_dtype: the dtype of most weights on disk.
      num_parameters: the number of weights; shared ones count once.
      num_layers: L as its config says; None if it does not.
      vocabulary: the number of ids that it can embed.
      context: the most ids of a text; None: no limit.
      storage: of its weights in files, or of a quantised copy's.
    """

    module: Any
    structure: Structure
    model_type: str
    dtype: str
    stored_dtype: str
    num_parameters: int
    num_layers: int | None
    vocabulary: int
    context: int | None
    storage: Storage

    @property
    def dense_up_to(self) -> int | None:
        """None: transformers computes texts of any length as the model does."""
        return None

    @property
    def device(self) -> Any:
        """The torch.device of its weights."""
        return self.module.device


def import_torch() -> Any:
    """The module torch; InputError where PyTorch is not installed.

    Kernels that transformers would fetch from the Hub, which are other people's programs, are
    turned off.
    """
    os.environ.setdefault("USE_HUB_KERNELS", "NO")
    try:
        import torch
    except ImportError:
        raise InputError(NEEDED) from None
    return torch


def device_name() -> str:
    """The device on which models are put: "1 x cuda NVIDIA H200, PyTorch", "1 x cpu, PyTorch"."""
    torch = import_torch()
    kind = _device(torch)
    name = f" {torch.cuda.get_device_name()}" if kind == "cuda" else ""
    return f"1 x {kind}{name}, PyTorch"


def from_folder(folder: Path, dtype: str) -> tuple[Any, dict[str, Any]]:
    """transformers' model of a folder in a dtype, on the CPU, and what it says of the tensors.

    Code of the checkpoint's repository is never run. Raises InputError where PyTorch is not
    installed or transformers cannot read the folder.
    """
    torch = import_torch()
    import transformers

    found, chosen = weights_of(folder)
    gguf = {"gguf_file": chosen} if found is GGUF else {}
    module: Any
    told: dict[str, Any]
    with _quiet():
        try:
            config = transformers.AutoConfig.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True, **gguf
            )
            config = getattr(config, "thinker_config", config)  # the part that reads text
            auto = _class_for(config)
            module, told = auto.from_pretrained(
                folder,
                config=config,
                dtype=getattr(torch, dtype),
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are in its report
                **gguf,
            )
        except (OSError, ValueError, RuntimeError, ImportError, LookupError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{folder}: transformers cannot load it: {reason}") from error
        except (AttributeError, AssertionError, NotImplementedError) as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise InputError(f"{folder}: transformers cannot load it: {reason}") from error
    return module.eval(), told


def _class_for(config: Any) -> Any:
    """transformers' automatic class for a config.

    Of a language model beside pictures or sound it is that of the whole checkpoint, which runs on
    text alone too: the one for language models does not know most of these types.
    """
    import transformers

    causal: Any = transformers.AutoModelForCausalLM
    if config.get_text_config() is config or config.is_encoder_decoder:
        return causal
    # The second lists some models of sound (Audio Flamingo).
    for name in ("AutoModelForMultimodalLM", "AutoModelForSeq2SeqLM"):
        whole: Any = getattr(transformers, name, None)
        if whole is not None and type(config) in whole._model_mapping:
            return whole
    return causal


def load(checkpoint: Checkpoint, dtype: str = "auto") -> TorchModel:
    """Loads a checkpoint onto the GPU if there is one, otherwise onto the CPU.

    Args:
      checkpoint: a folder with config.json, weights and tokenizer.
      dtype: one of DTYPES; "auto": float32.

    Raises InputError for what transformers cannot load, for tensors that are missing or left over,
    for weights that are not finite, and for a model whose predictions see later tokens.
    """
    torch = import_torch()
    dtype = DTYPES[0] if dtype == "auto" else dtype
    folder = checkpoint.folder
    config = checkpoint.config()
    if config.peek("quantization_config"):
        raise InputError(
            f"{folder}: its weights are stored in codes, which `engine=torch` does not read; "
            "score the model that it is a copy of"
        )
    if checkpoint.has_adapter:
        raise InputError(
            f"{folder}: adapters are not read by `engine=torch`; merge it into its base model"
        )
    module, told = from_folder(folder, dtype)
    for what, names in (
        ("lacks the tensors", told["missing_keys"]),
        ("has tensors of another shape:", [key for key, *_ in told["mismatched_keys"]]),
        ("has tensors that transformers does not use:", told["unexpected_keys"]),
    ):
        if names:
            shown = ", ".join(sorted(names)[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
            raise InputError(f"{folder}: {what} {shown}; the model would not be the one stored")
    module.requires_grad_(False)
    for name, parameter in module.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise InputError(f"{folder}: NaN or infinite weights in {name}")
    module.to(_device(torch))
    kind = config["model_type"]
    stored = _stored_dtype(checkpoint)
    count = sum(parameter.numel() for parameter in module.parameters())
    structure = Structure(module, f"{folder}: {kind}")
    structure.check_causal()
    return TorchModel(
        module=module,
        structure=structure,
        model_type=kind,
        dtype=dtype,
        stored_dtype=stored,
        num_parameters=count,
        num_layers=structure.num_layers,
        vocabulary=module.get_input_embeddings().weight.shape[0],
        context=context_of(checkpoint),
        storage=Storage(stored, num_bytes(folder), count, checkpoint.file_type),
    )


def context_of(checkpoint: Checkpoint) -> int | None:
    """The most ids of a text: as the page of the type says, if there is one that can read it.

    Otherwise what config.json calls max_position_embeddings; None where it names no limit.
    """
    config = checkpoint.config()
    if config["model_type"] in families():
        with contextlib.suppress(InputError):
            return checkpoint.architecture.spec.context
    import_torch()
    import transformers

    with _quiet():
        try:
            found = transformers.AutoConfig.from_pretrained(
                checkpoint.folder, trust_remote_code=False, local_files_only=True
            ).get_text_config()
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{checkpoint.folder}: transformers cannot read config.json: {reason}"
            ) from error
    limit = getattr(found, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def _stored_dtype(checkpoint: Checkpoint) -> str:
    """The dtype of most of the stored numbers; for a GGUF "float32", as they are decoded."""
    if weights_of(checkpoint.folder)[0] is GGUF:
        return DTYPES[0]
    sizes: Counter[str] = Counter()
    with open_tensors(checkpoint.folder) as tensors:
        for one in tensors.values():
            if one.is_float:
                sizes[one.float_dtype.name] += one.num_bytes
    if not sizes:
        raise InputError(f"{checkpoint.folder}: holds no float weights")
    return sizes.most_common(1)[0][0]


def _device(torch: Any) -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps transformers from printing; what matters is in its answers."""
    import transformers

    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)
