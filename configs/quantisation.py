"""Models beside their own 8-bit and 4-bit copies: figure 2a and the settings 8-bit and 4-bit.

Command:  jaxmap sweep --config=configs/quantisation.py --store=map \\
              --config.models_file=model_list.json
Cost:     50 downloads, most of 7 billion parameters (14 GB each, 0.7 TB in all), and three passes
          over the texts for each load. 4-bit copies multiply in 16 bit, as fast as the model.
Expect:   150 records; KL between a model and its copy of some 1e-3 bits per byte for int8, more
          for fp4.
Input:    models_file, the list of the published map (model_list.json of the authors' data folder):
          its first 50. Name models of your own with --config.models=REF instead.
"""

from jaxmap.sweeps.config_schema import config_dict


def get_config():
    return config_dict(
        models_file="model_list.json",
        first=50,
        texts="texts.jsonl",
        quantize=("none", "int8", "fp4"),
    )
