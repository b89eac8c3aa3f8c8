"""Types of transformers' lists of causal and multimodal models that have no page, with the reasons.

A type that gets a page leaves this list. Whatever is here, `engine=torch` can try it through
transformers, which says itself what it cannot do.
"""

from __future__ import annotations

# The version of transformers each of whose causal types has a page or is listed here.
COMPLETE_FOR = "5.24"

# model types -> the reason of all of them
_SHARED = (
    (
        """
        bert bert-generation big_bird camembert data2vec-text electra ernie megatron-bert rembert
        roberta roberta-prelayernorm roc_bert roformer xlm-roberta xlm-roberta-xl xmod
        """,
        "trained to fill gaps: what it says of a token depends on the tokens after it",
    ),
    (
        """
        bart bigbird_pegasus blenderbot blenderbot-small marian mbart mvp pegasus plbart prophetnet
        florence2 pix2struct pp_formulanet t5gemma2 trocr udop vision-encoder-decoder whisper
        """,
        "the decoder of a pair: it predicts a text from a source that an encoder has read",
    ),
    (
        """
        inkling2 inkling2_loop inkling_mm_model
        """,
        "made for pictures or sound beside text; its language model is of a type of its own, whose "
        "page is not written",
    ),
    (
        "dots3_note dots3_note_text",
        "latent attention whose heads and ranks differ by layer, with a norm of the rotated keys, "
        "which the decoder lacks",
    ),
    (
        "blip blip-2 instructblip instructblipvideo",
        "its language model reads what a picture was turned into, and no text without one",
    ),
    (
        "evolla idefics",
        "layers of cross-attention to another part's states, which the decoder lacks",
    ),
    ("kyutai_speech_to_text pi0", "reads sound or makes movements; it is no model of texts"),
    (
        "voxtral_realtime",
        "adds to the embedding of every token that of the sound of its moment, and reads no text "
        "without sound",
    ),
    ("moshi musicgen musicgen_melody", "predicts codes of sound, not text"),
    (
        "gemma4_assistant gemma4_unified_assistant",
        "drafts for another model, whose states it reads",
    ),
)
_SINGLE = {
    "chameleon": "its tokens of pictures have the lowest possible logit in a text, and the decoder "
    "has no logits that its weights do not give",
    "blt": "patches of bytes, of a length that another model chooses",
    "cpmant": "all tokens of a text see each other in both directions",
    "deepseek_v4": "attention to compressed keys beside a window, which the decoder lacks",
    "diffusion_gemma": "fills blocks of tokens by diffusion, not one after the other",
    "dory": "interpolations in place of residual sums, a learnt factor on each token's logits, and "
    "layers that run several times",
    "gpt-sw3": "no type of a config.json: these checkpoints say gpt2, which has a page",
    "inkling2_loop_text": "blocks that run several times, and attention over residuals",
    "inkling2_text": "attention over residuals and short convolutions that depend on the input",
    "inkling_text": "relative positions in logits and short convolutions, which the decoder lacks",
    "mistral_large4": "ropes whose frequencies are learnt, and latent attention whose scores each "
    "head scales with the query's position",
    "muse_spark": "sums that learnt gates weight, and experts that work between two projections",
    "paligemma": "the tokens of a prompt see each other in both directions",
    "shieldgemma2": "says yes or no of a picture; its language model is Gemma 3, which has a page",
    "reformer": "attention by hashing, and reversible layers",
    "xlm": "causal only if its config says so; learnt embeddings of languages",
    "xlnet": "trained on permutations of a text: its predictions see tokens on both sides",
}

REASONS: dict[str, str] = {
    **{kind: reason for kinds, reason in _SHARED for kind in kinds.split()},
    **_SINGLE,
}
