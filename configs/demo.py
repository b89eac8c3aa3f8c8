"""A Pythia in miniature, trained and mapped: the demo.

Command:  jaxmap demo --out=demo
          jaxmap demo --out=demo-long --config=configs/demo.py --config.steps=4096
Cost:     three to four minutes on 2 CPU cores, half of them compiling; 110 MB of disk.
Expect:   5 runs of 3 sizes (3 seeds of the smallest), 19 checkpoints each, all loadable by
          transformers; the first continues with a second stage of 128 steps, and a branch of as
          many starts from its middle; the last checkpoints as models of their own, the largest
          fine-tuned (all weights, and a LoRA adapter), the smallest as GGUF files in 8 and 4 bits,
          so that each of the ten settings has pairs; held-out text falls from about 3.8 bits per
          byte to between 2.5 and 2.3, bigger models lower; demo/report.html with the learning
          curves and the KL between consecutive checkpoints, which climbs through warmup to about 1
          bit per byte and falls below 0.1 as the learning rate does. Final models differ by 0.2 to
          0.8 bits per byte; after training this short, seeds differ as much as sizes do. Of the
          last checkpoints each layer (logit lens), 8-bit and 4-bit copies, and the largest in
          bfloat16 and float16: its floor there is 3e-5 and 4e-7 bits per byte.
"""

from ml_collections import ConfigDict

from jaxmap.demos.settings import DemoConfig, to_dict


def get_config() -> ConfigDict:
    return ConfigDict(to_dict(DemoConfig()))
