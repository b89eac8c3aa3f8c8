"""The map of 1,018 models and their fine-tuned children: figure 2b, FT, intra-type and random.

Command:  jaxmap sweep --config=configs/finetuning.py --store=map \\
              --config.models_file=model_list.json --cache_budget=500GB
          On a cluster add --shard_index and --shard_count.
Cost:     1,018 downloads, most of 7 billion parameters: about 14 TB.
Expect:   one record a model; `jaxmap families --find` says beforehand which architectures are
          scored; models that are gone from the Hub, or gated, are noted as failures with the
          reason, and the exit code is 2.
Input:    models_file, the list of the published map (model_list.json of the authors' data folder).
"""

from jaxmap.sweeps.config_schema import config_dict


def get_config():
    return config_dict(models_file="model_list.json", texts="texts.jsonl")
