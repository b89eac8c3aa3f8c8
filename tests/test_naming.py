"""What names say: the checkpoint suites of the field, and models whose names look like more."""

from __future__ import annotations

import pytest
from support import REPOSITORY

from jaxmap.naming import natural_key, parse, parse_run

# Suites of checkpoints: a reference with a revision -> run, step, tokens.
CHECKPOINTS = [
    # Pythia, PolyPythias
    ("EleutherAI/pythia-410m@step143000", "", 143_000, None),
    ("EleutherAI/pythia-1.4b-deduped@step0", "", 0, None),
    ("EleutherAI/pythia-160m-seed3@step143000", "seed3", 143_000, None),
    ("EleutherAI/pythia-160m-data-seed1@step512", "seed1", 512, None),
    ("EleutherAI/pythia-160m-weight-seed2@step512", "seed2", 512, None),
    # OLMo 1 to 3, OLMoE
    ("allenai/OLMo-1B@step1000-tokens4B", "", 1000, 4 * 10**9),
    ("allenai/OLMoE-1B-7B-0924@step1200000-tokens5033B", "", 1_200_000, 5033 * 10**9),
    ("allenai/OLMo-2-1124-7B@stage1-step1000-tokens5B", "stage1", 1000, 5 * 10**9),
    ("allenai/OLMo-2-1124-7B@stage2-ingredient1-step1000-tokens3B", "stage2-ingredient1", 1000,
     3 * 10**9),
    ("allenai/OLMo-2-0425-1B@stage2-ingredient2-step1000-tokens3B", "stage2-ingredient2", 1000,
     3 * 10**9),
    ("allenai/OLMo-2-0425-1B-early-training@step150-tokens1B", "", 150, 10**9),
    ("allenai/Olmo-3-1025-7B@stage1-step1413814", "stage1", 1_413_814, None),
    ("allenai/Olmo-3-1025-7B@stage2-step47684", "stage2", 47_684, None),
    ("allenai/Olmo-3-1125-32B@stage2-ingredient1-step7000", "stage2-ingredient1", 7000, None),
    ("allenai/Olmo-3-1025-7B@stage3-step11921", "stage3", 11_921, None),
    ("allenai/OLMo-2-0425-1B-Instruct@step_360", "", 360, None),
    # SmolLM 2 and 3, FineWeb
    ("HuggingFaceTB/SmolLM3-3B-checkpoints@stage1-step-3440000", "stage1", 3_440_000, None),
    ("HuggingFaceTB/SmolLM3-3B-checkpoints@lc-4k-to-32k-step-20000", "lc-4k-to-32k", 20_000, None),
    ("HuggingFaceTB/SmolLM3-3B-checkpoints@it-SFT", "it-SFT", None, None),
    ("HuggingFaceTB/SmolLM3-3B-checkpoints@it-soup-APO", "it-soup-APO", None, None),
    ("HuggingFaceTB/SmolLM2-1.7B-intermediate-checkpoints@step-125000", "", 125_000, None),
    ("HuggingFaceFW/ablation-model-fineweb-edu@step-001000-2BT", "", 1000, 2 * 10**9),
    # Apertus
    ("swiss-ai/Apertus-8B-2509@step50000-tokens210B", "", 50_000, 210 * 10**9),
    ("swiss-ai/Apertus-8B-2509@longctx-step1000", "longctx", 1000, None),
    # Amber, K2, CrystalCoder
    ("LLM360/Amber@ckpt_000", "", 0, None),
    ("LLM360/K2@ckpt_358", "", 358, None),
    ("LLM360/CrystalCoder@CrystalCoder_phase1_checkpoint_055500", "phase1", 55_500, None),
    # TinyLlama: a repository for each, and branches
    ("TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T", "", 1_431_000, 3 * 10**12),
    ("TinyLlama/TinyLlama-1.1B-intermediate-step-955k-token-2T", "", 955_000, 2 * 10**12),
    ("TinyLlama/TinyLlama-1.1B-intermediate-step-715k-1.5T", "", 715_000, 1_500 * 10**9),
    ("PY007/TinyLlama-1.1B-step-50K-105b", "", 50_000, 105 * 10**9),
    ("TinyLlama/tinyLlama-intermediate-checkpoints@step-480k-token-1007B", "", 480_000,
     1007 * 10**9),
    # MultiBERT
    ("google/multiberts-seed_0-step_20k", "seed_0", 20_000, None),
    ("google/multiberts-seed_0-step_0k", "seed_0", 0, None),
    # Tokens alone
    ("togethercomputer/RedPajama-INCITE-7B-Base@240b_tokens", "", None, 240 * 10**9),
    ("baichuan-inc/Baichuan2-7B-Intermediate-Checkpoints@train_00220B", "", None, 220 * 10**9),
    ("TJUNLP/FuxiTranyu-8B@10B", "", None, 10 * 10**9),
    # OpenCoder, BLOOM, Lucie, DataDecide
    ("infly/OpenCoder-1.5B-Base@pretrain_iter_0373000", "pretrain", 373_000, None),
    ("infly/OpenCoder-1.5B-Base@anneal_iter_0023000", "anneal", 23_000, None),
    ("bigscience/bloom-560m-intermediate@global_step1000", "", 1000, None),
    ("OpenLLM-France/Lucie-7B@step0753851", "", 753_851, None),
    ("OpenLLM-France/Lucie-7B@extension_step0001220", "extension", 1220, None),
    ("allenai/DataDecide-c4-1B@step69369-seed-default", "seed-default", 69_369, None),
    ("allenai/DataDecide-c4-1B@step69369-seed-small-aux-2", "seed-small-aux-2", 69_369, None),
    ("marin-community/marin-8b-base@deeper-starling", "deeper-starling", None, None),
    # Trainers
    ("org/name@checkpoint-500", "", 500, None),
    ("org/name@hf/step-1419999", "", 1_419_999, None),
    ("org/name@iteration-100000", "", 100_000, None),
    ("org/name@iter_0001000", "", 1000, None),
    ("org/name@epoch_1", "", 1, None),
    ("org/name@step=1000", "", 1000, None),
    ("org/name@epoch=3-step=1000", "", 1000, None),
    ("org/name@ep0-ba1000", "", 1000, None),
    ("org/name@step1.5k", "", 1500, None),
    ("org/name@STEP_2M", "", 2_000_000, None),
    ("org/name@step20240115", "", 20_240_115, None),
    ("org/name@4B-tokens", "", None, 4 * 10**9),
    ("org/name@tokens=4194304000", "", None, 4_194_304_000),
    # Folders and subfolders
    ("/data/runs/demo/checkpoint-500", "", 500, None),
    ("/data/olmo/stage1-step1000-tokens5B", "stage1", 1000, 5 * 10**9),
    ("/data/olmo@stage1-step1000-tokens5B", "stage1", 1000, 5 * 10**9),
    ("/data/olmo/step1000-unsharded", "", 1000, None),
    ("./demo/ckpt_3", "", 3, None),
    ("run/global_step7", "", 7, None),
    ("step3", "", 3, None),
    ("org/name-step5@main", "", 5, None),
    ("run/step3", "", 3, None),
    ("runs/seed1-step10", "seed1", 10, None),
    ("org/name/checkpoints/step100", "", 100, None),
    ("org/name/phase2/iter_5", "phase2", 5, None),
]  # fmt: skip


def read(text: str):
    name, _, revision = text.partition("@")
    return parse(name, revision or None)


@pytest.mark.parametrize(("text", "run", "step", "tokens"), CHECKPOINTS)
def test_checkpoints_of_suites(text, run, step, tokens):
    name = read(text)
    assert (name.run, name.step, name.tokens) == (run, step, tokens)
    assert name.time == (tokens if step is None else step)


# Finished models, as they are called on the Hub: family, size in parameters.
MODELS = [
    ("EleutherAI/gpt-neo-125M", "gpt-neo-*", 125e6),
    ("EleutherAI/gpt-j-6b", "gpt-j-*", 6e9),
    ("EleutherAI/pythia-1.4b-deduped", "pythia-*-deduped", 1.4e9),
    ("EleutherAI/neox-ckpt-pythia-70m-v1", "neox-ckpt-pythia-*-v1", 70e6),
    ("gpt2", "gpt2", None),
    ("openai-community/gpt2-xl", "gpt2-*", None),
    ("facebook/opt-6.7b", "opt-*", 6.7e9),
    ("bigscience/bloom-7b1", "bloom-*", 7.1e9),
    ("bigscience/bloomz-560m", "bloomz-*", 560e6),
    ("tiiuae/falcon-40b-instruct", "falcon-*-instruct", 40e9),
    ("meta-llama/Llama-2-7b-hf", "Llama-2-*-hf", 7e9),
    ("meta-llama/Llama-3.2-1B", "Llama-3.2-*", 1e9),
    ("meta-llama/Llama-4-Scout-17B-16E", "Llama-4-Scout-*-16E", 17e9),
    ("codellama/CodeLlama-34b-Instruct-hf", "CodeLlama-*-Instruct-hf", 34e9),
    ("openlm-research/open_llama_3b_v2", "open_llama_*_v2", 3e9),
    ("openlm-research/open_llama_7b_400bt_preview", "open_llama_*_400bt_preview", 7e9),
    ("org/LLaMA-32K-7b", "LLaMA-32K-*", 7e9),
    ("org/LLaMA-1M-7b", "LLaMA-1M-*", 7e9),
    ("NousResearch/Yarn-Llama-2-7b-128k", "Yarn-Llama-2-*-128k", 7e9),
    ("org/Yi-1T-moe", "Yi-*-moe", 1e12),
    ("inclusionAI/Ling-1T", "Ling-*", 1e12),
    ("01-ai/Yi-1.5-9B", "Yi-1.5-*", 9e9),
    ("Qwen/Qwen2.5-7B-Instruct-1M", "Qwen2.5-*-Instruct-1M", 7e9),
    ("Qwen/Qwen3-30B-A3B", "Qwen3-*-A3B", 30e9),
    ("Qwen/Qwen1.5-MoE-A2.7B", "Qwen1.5-MoE-A2.7B", None),
    ("xinlai/Qwen2-7B-Instruct-Step-DPO", "Qwen2-*-Instruct-Step-DPO", 7e9),
    ("mistralai/Mixtral-8x7B-v0.1", "Mixtral-*-v0.1", 56e9),
    ("allenai/OLMoE-1B-7B-0924", "OLMoE-1B-*-0924", 7e9),
    ("allenai/OLMo-2-0425-1B", "OLMo-2-0425-*", 1e9),
    ("microsoft/phi-1_5", "phi-1_5", None),
    ("microsoft/Phi-3-mini-4k-instruct", "Phi-3-*-4k-instruct", None),
    ("microsoft/bitnet-b1.58-2B-4T", "bitnet-b1.58-*-4T", 2e9),
    ("google/gemma-3-270m-it", "gemma-3-*-it", 270e6),
    ("google/gemma-3n-E2B-it", "gemma-3n-*-it", 2e9),
    ("stabilityai/stablelm-2-1_6b", "stablelm-2-*", 1.6e9),
    ("stabilityai/stablelm-3b-4e1t", "stablelm-*-4e1t", 3e9),
    ("mosaicml/mpt-1b-redpajama-200b", "mpt-*-redpajama-200b", 1e9),
    ("rhysjones/gpt2-124M-edu-fineweb-10B", "gpt2-*-edu-fineweb-10B", 124e6),
    ("EleutherAI/SmolLM2-135M-10B", "SmolLM2-*-10B", 135e6),
    ("org/pile-7b-250b-tokens", "pile-*-250b-tokens", 7e9),
    ("roneneldan/TinyStories-1M", "TinyStories-*", 1e6),
    ("RWKV/rwkv-4-169m-pile", "rwkv-4-*-pile", 169e6),
    ("baichuan-inc/Baichuan2-7B-Intermediate-Checkpoints",
     "Baichuan2-*-Intermediate-Checkpoints", 7e9),
    ("stepfun-ai/step3", "step3", None),
    ("stepfun-ai/Step-3.5-Flash", "Step-3.5-Flash", None),
    ("stepfun-ai/Step1X-Edit", "Step1X-Edit", None),
    ("unsloth/Step-3", "Step-3", None),
    ("org/step3-fp8", "step3-fp8", None),
    ("/models/Step-3", "Step-3", None),
    ("UCLA-AGI/zephyr-7b-sft-full-SPIN-iter3", "zephyr-*-sft-full-SPIN-iter3", 7e9),
    ("UCLA-AGI/Llama-3-Instruct-8B-SPPO-Iter3", "Llama-3-Instruct-*-SPPO-Iter3", 8e9),
    ("/models/Llama-3-Instruct-8B-SPPO-Iter3", "Llama-3-Instruct-*-SPPO-Iter3", 8e9),
    ("org/gpt2-finetuned-epoch-5", "gpt2-finetuned-epoch-5", None),
    ("org/math-multi-step-200", "math-multi-step-200", None),
    ("org/verify-step-by-step-7b", "verify-step-by-step-*", 7e9),
    ("org/footstep3", "footstep3", None),
    ("step3/model", "model", None),
    ("org/deepstep-100-7b", "deepstep-100-*", 7e9),
    ("org/turbo-4-steps", "turbo-4-steps", None),
    ("org/chat-checkpoint-2024-01-15", "chat-checkpoint-2024-01-15", None),
    ("org/chat-checkpoint-20240115", "chat-checkpoint-20240115", None),
    ("org/chat-checkpoint-1.5", "chat-checkpoint-1.5", None),
    ("org/chat-checkpoint-v2", "chat-checkpoint-v2", None),
    ("MiniMaxAI/MiniMax-M1-40k", "MiniMax-M1-40k", None),
    ("ByteDance-Seed/Seed-OSS-36B-Base", "Seed-OSS-*-Base", 36e9),
    ("/models/llama/7B", "*", 7e9),
]  # fmt: skip


@pytest.mark.parametrize(("text", "family", "size"), MODELS)
def test_finished_models_are_no_checkpoints(text, family, size):
    name = parse(text)
    assert (name.time, name.unit, name.run, name.seed) == (None, "", "", None)
    assert (name.family, name.size, name.run_name) == (family, size, text)
    assert f"{name.organisation}/{name.model}" == text or name.model == text


@pytest.mark.parametrize(
    ("text", "run_name"),
    [
        ("EleutherAI/pythia-70m@step1000", "EleutherAI/pythia-70m"),
        ("EleutherAI/pythia-70m-seed3@step1000", "EleutherAI/pythia-70m-seed3"),
        ("allenai/OLMo-2-1124-7B@stage2-ingredient1-step1000-tokens3B",
         "allenai/OLMo-2-1124-7B@stage2-ingredient1"),
        ("TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T", "TinyLlama/TinyLlama-1.1B"),
        ("TinyLlama/TinyLlama-1.1B-step-50K-105b", "TinyLlama/TinyLlama-1.1B"),
        ("google/multiberts-seed_0-step_20k", "google/multiberts-seed_0"),
        ("/data/olmo/stage1-step1000", "/data/olmo/stage1"),
        ("/data/my_run/step10", "/data/my_run"),
        ("/data/my_run-step10", "/data/my_run"),
        ("org/a-step10", "org/a"),
        ("org/name@" + "0123456789abcdef" * 2 + "01234567", "org/name"),
        ("org/name@main", "org/name"),
        ("org/name@some/branch-step5", "org/name@some-branch"),
    ],
)  # fmt: skip
def test_run_names(text, run_name):
    assert read(text).run_name == run_name


def test_runs_of_one_repository_are_told_apart():
    revisions = ["step8", "stage1-step8", "stage2-ingredient1-step8", "stage2-ingredient2-step8",
                 "longctx-step8", "step8-seed-default", "step8-seed-small-aux-2"]  # fmt: skip
    names = [parse("org/name", revision) for revision in revisions]
    assert {name.step for name in names} == {8}
    assert len({name.run_name for name in names}) == len(names)


@pytest.mark.parametrize("text", ["org/p-70m-seed3", "org/p-70m_seed3", "org/p-70m-seed-3"])
def test_a_seed_is_one_seed_however_it_is_written(text):
    name = parse(text)
    assert (name.model, name.family, name.seed) == ("p-70m", "p-*", 3)
    assert parse_run(text.removeprefix("org/")).model == "p-70m"


def test_series_differ_in_size_and_seed_only():
    of = {text: read(text).series for text in (
        "org/p-70m@stage1-step1", "org/p-1b-seed2@stage1-step5", "org/p-1b@stage2-step5",
        "org/p-1b@step5-seed-default", "org/p-1b@step5",
    )}  # fmt: skip
    first, second, stage2, default, plain = of.values()
    assert first == second != stage2
    assert default == plain != first


def test_a_run_name_reads_as_its_checkpoints_do():
    for text, *_ in CHECKPOINTS:
        name = read(text)
        again = parse_run(name.run_name)
        if name.time is not None:
            assert (again.model, again.family, again.size, again.seed, again.stage) == (
                name.model, name.family, name.size, name.seed, name.stage)  # fmt: skip
            assert again.run_name == name.run_name
            assert again.time is None


def test_sizes_that_are_words():
    assert parse("models/pythia-demo-xs-seed1").size_word == "xs"
    assert parse("models/pythia-demo-m").family == "pythia-demo-*"
    assert parse("org/llama-chat").family == "llama-chat"


def test_a_number_too_long_to_be_one_is_none():
    assert parse("org/name", "step" + "9" * 40).step is None


def test_numbers_sort_by_value():
    assert sorted(["step10", "step2", "step1000"], key=natural_key) == ["step2", "step10",
                                                                       "step1000"]  # fmt: skip


def test_the_table_of_the_documentation():
    text = (REPOSITORY / "docs" / "names.md").read_text("utf-8")
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")]
            for line in text.partition("## What a name says")[2].splitlines()
            if line.startswith("| `")]  # fmt: skip
    assert len(rows) == 6
    for reference, run, step, tokens in rows:
        name = read(reference)
        assert name.run == run
        assert name.step == (int(step.replace(",", "")) if step else None)
        assert name.tokens == (float(tokens) if tokens else None)


@pytest.mark.parametrize(
    ("text", "model", "file_type", "size"),
    [
        ("org/m-GGUF/SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct", "Q4_1", 135e6),
        ("a/gemma-3-270m-Q4_K_M.gguf", "gemma-3-270m", "Q4_K_M", 270e6),
        ("a/Qwen3-8B-UD-Q4_K_XL.gguf", "Qwen3-8B", "Q4_K_XL", 8e9),
        ("a/Llama-3.1-8B-Instruct-IQ3_XXS.gguf", "Llama-3.1-8B-Instruct", "IQ3_XXS", 8e9),
        ("a/llama-2-7b.q8_0.gguf", "llama-2-7b", "Q8_0", 7e9),
        ("a/gpt-oss-20b-MXFP4.gguf", "gpt-oss-20b", "MXFP4", 20e9),
        ("a/m-1B-bf16.gguf", "m-1B", "BF16", 1e9),
        ("a/Big-70B-Q5_K_M-00001-of-00002.gguf", "Big-70B", "Q5_K_M", 70e9),
        ("a/tiny.gguf", "tiny", "", None),
        ("a/Q4_0.gguf", "Q4_0", "", None),
        ("a/b-7B-Q4_0", "b-7B-Q4_0", "", 7e9),  # a repository
    ],
)
def test_a_file_tells_its_model_and_type(text, model, file_type, size):
    name = parse(text)
    assert (name.model, name.file_type, name.size) == (model, file_type, size)
    assert name.run_name == text
    assert name.time is None


def test_files_of_two_types_are_no_seeds_and_no_sizes_of_one_another():
    four, eight = (parse(f"a/m-{size}.gguf") for size in ("70m-Q4_0", "160m-Q8_0"))
    assert four.family == eight.family == "m-*"
    assert four.series != eight.series
    assert parse("a/m-70m-Q8_0.gguf").base != four.base
