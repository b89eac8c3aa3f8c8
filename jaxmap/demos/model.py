"""A Pythia of any size: its config.json, its first weights, its optimiser."""

from __future__ import annotations

import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxmap.architectures.config import Config
from jaxmap.architectures.specs import spec_of
from jaxmap.demos.settings import DemoConfig, ModelSize
from jaxmap.model.decoder import abstract
from jaxmap.model.spec import Spec


def hf_config(config: DemoConfig, size: ModelSize) -> dict[str, Any]:
    """config.json of a model of this size, with the keys that Pythia's own have."""
    return {
        "architectures": ["GPTNeoXForCausalLM"],
        "bos_token_id": 0,
        "eos_token_id": 0,
        "hidden_act": "gelu",
        "hidden_size": size.width,
        "initializer_range": 0.02,
        "intermediate_size": 4 * size.width,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": config.context,
        "model_type": "gpt_neox",
        "num_attention_heads": size.heads,
        "num_hidden_layers": size.layers,
        "rotary_emb_base": 10000,
        "rotary_pct": 0.25,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "use_cache": True,
        "use_parallel_residual": True,
        "vocab_size": config.vocabulary,
    }


def spec_for(config: DemoConfig, size: ModelSize) -> Spec:
    """The decoder's spec for a model of this size."""
    return spec_of(Config(hf_config(config, size), "the demo's config"))


def init_params(spec: Spec, seed: int) -> nnx.State:
    """First weights, as Pythia's were drawn (GPT-NeoX's "small_init" and "wang_init").

    Normal with standard deviation sqrt(2 / (5 D)) (Nguyen and Salazar 2019, 1910.05895); the
    projections back onto the residual stream with 2 / (L sqrt(D)); scales 1, biases 0.
    """

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.Array:
        name = leaf_name(path)
        if name.endswith("scale"):
            return jnp.ones(leaf.shape, leaf.dtype)
        if name.endswith("bias"):
            return jnp.zeros(leaf.shape, leaf.dtype)
        back = name.endswith(("attn/o/kernel", "mlp/down/kernel"))
        std = 2 / (spec.L * math.sqrt(spec.D)) if back else math.sqrt(2 / (5 * spec.D))
        # NumPy draws the same numbers whatever the device, and compiles nothing.
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        return jnp.asarray(std * rng.standard_normal(leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, abstract(spec)[1])


def optimiser(
    config: DemoConfig, size: ModelSize, rate: optax.Schedule | None = None
) -> optax.GradientTransformation:
    """AdamW as Pythia's: clipped, no decay on biases and norms, warmup from 0, cosine.

    The first update has learning rate 0, so step 1 equals step 0, as in Pythia. `rate` is a
    schedule in place of warmup and cosine.
    """
    schedule = rate or optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=size.learning_rate,
        warmup_steps=config.warmup,
        decay_steps=config.steps,
        end_value=size.learning_rate * config.final_learning_rate,
    )

    def decayed(params: nnx.State) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: not leaf_name(path).endswith(("bias", "scale")), params
        )

    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(
            schedule,
            b1=config.beta1,
            b2=config.beta2,
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            mask=decayed,
        ),
    )


def leaf_name(path: tuple[Any, ...]) -> str:
    """The path of a leaf of a state, "mlp/up/kernel" at its end."""
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return name.removesuffix("/value").removesuffix("/.value")
