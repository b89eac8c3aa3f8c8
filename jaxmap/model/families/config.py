"""config.json, remembering which of its keys were read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jaxmap.errors import InputError

_MISSING = object()

# Keys that transformers writes into any config and that cannot change a logit of a causal LM:
# bookkeeping, special tokens, generation, training, heads of other tasks.
GENERIC_INERT = frozenset(
    """
    _attn_implementation_autoset _name_or_path architectures attn_implementation auto_map
    bad_words_ids begin_suppress_tokens bos_token_id chunk_size_feed_forward cross_attention_hidden_size
    decoder_start_token_id diversity_penalty do_sample dtype early_stopping
    encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty finetuning_task
    forced_bos_token_id forced_eos_token_id gradient_checkpointing id2label initializer_range
    is_decoder is_encoder_decoder keys_to_ignore_at_inference label2id length_penalty max_length
    min_length model_type no_repeat_ngram_size num_beam_groups num_beams num_labels
    num_return_sequences output_attentions output_hidden_states output_past output_scores
    pad_token_id prefix problem_type pruned_heads remove_invalid_values repetition_penalty
    return_dict return_dict_in_generate sep_token_id suppress_tokens task_specific_params
    temperature tf_legacy_loss tie_encoder_decoder tokenizer_class top_k top_p torch_dtype
    torchscript transformers_version typical_p unk_token_id use_bfloat16 use_cache
    _commit_hash unsloth_version unsloth_fixed
    """.split()
)

# What keys hold, wherever they are read: type, lowest, highest. The bounds are far from any model;
# they keep a damaged number from being taken at its word, as for a tuple with an entry a layer.
_COUNT, _SIZE, _TOKENS = (int, 1, 10_000), (int, 1, 1 << 20), (int, 1, 2**31 - 1)
_POSITIVE, _TO_ONE, _ANY = (float, 1e-30, 1e30), (float, 0.0, 1.0), (float, -1e30, 1e30)
_YES_NO, _NAME, _LIST = (bool, 0, 1), (str, 0, 0), (list, 0, 0)
_KINDS = {
    key: kind
    for kind, keys in {
        _COUNT: "n_layer n_layers num_layers num_hidden_layers",
        _SIZE: """n_embd hidden_size n_head num_attention_heads head_dim num_key_value_heads n_inner
            intermediate_size attention_heads d_model expansion_ratio ffn_dim ffn_hidden_size n_embed
            n_heads num_heads num_kv_heads rotary_dim word_embed_proj_dim""",
        _TOKENS: """vocab_size n_positions max_position_embeddings max_seq_len seq_length window_size
            original_max_position_embeddings""",
        (int, 0, 2**31 - 1): """sliding_window max_window_layers sliding_window_pattern
            no_rope_layer_interval""",
        _POSITIVE: """alibi_bias_max softmax_scale rope_theta rotary_emb_base factor low_freq_factor
            high_freq_factor beta_fast
            beta_slow attention_factor attn_logit_softcapping clip_qkv dim_model_base
            final_logit_softcapping logits_scaling query_pre_attn_scalar rope_local_base_freq
            scale_emb""",
        _TO_ONE: """layer_norm_epsilon layer_norm_eps norm_eps norm_epsilon rms_norm_eps rotary_pct
            partial_rotary_factor""",
        _ANY: """attention_multiplier embedding_multiplier logit_scale mscale mscale_all_dim
            residual_multiplier scale_depth""",
        _YES_NO: """_remove_final_layer_norm alibi attention_bias bias do_layer_norm_before
            enable_bias layer_norm_elementwise_affine mlp_bias multi_query new_decoder_architecture
            no_bias parallel_attn qk_layernorm scale_attn_by_inverse_layer_idx scale_attn_weights
            scale_embedding tie_word_embeddings truncate use_bias use_parallel_residual
            use_post_norm use_qk_norm use_qkv_bias use_sliding_window""",
        _NAME: """activation activation_function hidden_act hidden_activation model_type rope_type
            type""",
        _LIST: """attention_layers attention_types layer_types long_factor no_rope_layers
            short_factor""",
    }.items()
    for key in keys.split()
}
_NEVER_NULL = frozenset(
    """
    activation activation_function hidden_act layer_norm_eps layer_norm_epsilon max_window_layers
    norm_eps norm_epsilon partial_rotary_factor rms_norm_eps rope_theta rotary_emb_base rotary_pct
    """.split()
)


def _wanted(key: str, value: Any) -> str | None:
    """What the key should hold, in words, where this value is not it; else None."""
    if value is None:
        return "null is not allowed" if key in _NEVER_NULL else None
    if key not in _KINDS:
        return None
    kind, low, high = _KINDS[key]
    if kind in (int, float):
        types = (int,) if kind is int else (int, float)
        number = isinstance(value, types) and not isinstance(value, bool)
        # Comparing keeps a whole number of any size whole, and NaN out.
        if number and low <= value <= high:
            return None
        return f"must be a {'whole ' * (kind is int)}number from {low:,} to {high:,}"
    names = {bool: "true or false", str: "a string", list: "a list"}
    return None if isinstance(value, kind) else f"must be {names[kind]}"


class Config:
    """A JSON object that remembers which keys were read.

    Every key of config.json is read by the family's page or declared inert by it; a key that is
    neither may change the logits, so `check_all_read` refuses it by name.
    """

    def __init__(self, values: dict[str, Any], where: str):
        self._values = values
        self._known: set[str] = set()
        self.where = where

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING or value is None:
            raise InputError(f"{self.where}: {key} is missing")
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or `default` where the key is absent (not where it is null).

        InputError where the value cannot be what the key holds.
        """
        self._known.add(key)
        if key not in self._values:
            return default
        value = self._values[key]
        if wanted := _wanted(key, value):
            raise InputError(f"{self.where}: {key} = {value!r:.60}: {wanted}")
        return value

    def first(self, *keys: str) -> Any:
        """The first of several spellings that is present and not null."""
        values = [self.get(key) for key in keys]
        for value in values:
            if value is not None:
                return value
        raise InputError(f"{self.where}: {' or '.join(keys)} is missing")

    def assume(self, key: str, value: Any) -> None:
        """Gives a key that is absent the value that the reference takes for it."""
        self._values = {key: value, **self._values}

    def child(self, key: str) -> Config | None:
        """A nested object with its own account, or None where it is absent, null or empty."""
        value = self.get(key)
        if value is not None and not isinstance(value, dict):
            raise InputError(f"{self.where}: {key} is not an object: {value!r}")
        return Config(value, f"{self.where}: {key}") if value else None

    def require(self, key: str, allowed: tuple, default: Any) -> None:
        """Reads a key of which the decoder implements only these values."""
        value = self.get(key, default)
        if value not in allowed:
            known = " or ".join(repr(a) for a in allowed)
            raise InputError(f"{self.where}: {key} = {value!r} is not supported, only {known}")

    def inert(self, *keys: str) -> None:
        """Declares keys that cannot change a logit."""
        self._known.update(keys)

    def check_all_read(self) -> None:
        """Raises InputError naming the keys that nothing read and nobody declared inert."""
        unread = sorted(set(self._values) - self._known - GENERIC_INERT)
        if unread:
            named = ", ".join(f"{key}={self._values[key]!r:.60}" for key in unread)
            raise InputError(
                f"{self.where}: keys that may change the logits and that nothing read: {named}; "
                "if they cannot, name them in --ignore_config_keys"
            )


def head_width(c: Config, width: int, heads: int) -> int:
    """Channels per head where config.json gives none; InputError where they come out uneven."""
    if heads < 1 or width % heads:
        raise InputError(f"{c.where}: a width of {width} does not divide into {heads} heads")
    return width // heads


def sliding_layers(c: Config, L: int, default: Callable[[int], bool]) -> tuple[bool, ...]:
    """Which of L layers see a window only: what layer_types says, else `default` of the layer."""
    kinds = c.get("layer_types")
    if kinds is None:
        return tuple(default(i) for i in range(L))
    if unknown := set(kinds) - {"full_attention", "sliding_attention"}:
        raise InputError(f"{c.where}: unknown layer_types {sorted(unknown)}")
    if len(kinds) != L:
        raise InputError(f"{c.where}: {len(kinds)} layer_types for {L} layers")
    return tuple(kind == "sliding_attention" for kind in kinds)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; InputError names the file and the place of a fault."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, 5000 brackets
        raise InputError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a JSON object")
    return value
