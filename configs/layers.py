"""Every layer of 50 models through the logit lens: figure 2c and the setting layer.

Command:  jaxmap sweep --config=configs/layers.py --store=layers \\
              --config.models_file=model_list.json
Cost:     50 downloads (0.7 TB), one pass over the texts each; the readout runs at every layer: by
          arithmetic 1.6 times a plain pass for a 7b of 32 layers with a vocabulary of 32,000, and
          3 times with one of 128,000.
Expect:   L + 2 records a model: its output and the layers 0 (the embedding) to L (the output
          again); KL falls layer by layer, and adjacent late layers are near.
Input:    models_file, the list of the published map (model_list.json of the authors' data folder):
          its first 50.
"""

from jaxmap.sweeps.config_schema import config_dict


def get_config():
    return config_dict(models_file="model_list.json", first=50, texts="texts.jsonl", lens=True)
