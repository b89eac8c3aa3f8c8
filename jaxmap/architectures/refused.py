"""Types of transformers' causal list that have no page, each with the reason.

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
        trocr whisper
        """,
        "the decoder of a pair: it predicts a text from a source that an encoder has read",
    ),
    (
        """
        apertus1p5_text cohere_compass_text dots3_note dots3_note_text emu3 fuyu
        gemma4_unified git got_ocr2 mllama moss_transcribe_diarize phi4_multimodal qwen4_exp
        """,
        "made for pictures or sound beside text; the page of its text model is not written",
    ),
    ("moshi musicgen musicgen_melody", "predicts codes of sound, not text"),
    (
        "axk2 deepseek_v32 glm_moe_dsa hy_v4 minimax_m3_vl_text qwen4_exp_text",
        "attention to keys that an indexer chooses, which the decoder lacks",
    ),
    (
        "aria_text axk1 beam flint laguna lfm3",
        "the page is not written",
    ),
    (
        "gemma4_assistant gemma4_unified_assistant",
        "drafts for another model, whose states it reads",
    ),
)
_SINGLE = {
    "gemma4_unified_text": "Gemma 4 without a vision encoder; the page is not written",
    "bailing_hybrid": "linear attention with heads of several decays; the page is not written",
    "blt": "patches of bytes, of a length that another model chooses",
    "cpmant": "a prompt's tokens see each other in both directions, and positions by segment",
    "deepseek_v4": "compressed keys and hyper-connections, which the decoder lacks",
    "dory": "normed embeddings and a head of its own kind; the page is not written",
    "gpt-sw3": "no type of a config.json: these checkpoints say gpt2, which has a page",
    "hrm_text": "its blocks run several times in a hierarchy; the decoder runs each once",
    "inkling2_loop_text": "blocks that run several times, and attention over residuals",
    "inkling2_text": "attention over residuals and short convolutions that depend on the input",
    "inkling_text": "relative positions in logits and short convolutions, which the decoder lacks",
    "lara_mini": "a gated delta rule with experts; the page is not written",
    "reformer": "attention by hashing, and reversible layers",
    "xlm": "causal only if its config says so; learnt embeddings of languages",
    "xlnet": "trained on permutations of a text: its predictions see tokens on both sides",
    "xlstm": "xLSTM cells, which the decoder lacks as a mixer",
    "zaya": "convolutions inside attention and a router with an MLP, which the decoder lacks",
}

REASONS: dict[str, str] = {
    **{kind: reason for kinds, reason in _SHARED for kind in kinds.split()},
    **_SINGLE,
}
