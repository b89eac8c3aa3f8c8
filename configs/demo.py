"""A Pythia in miniature, trained and mapped: the demo.

Command:  jaxmap demo --out=demo
Cost:     two to three and a half minutes on 2 CPU cores; 90 MB of disk.
Expect:   5 runs of 3 sizes (3 seeds of the smallest), 19 checkpoints each, all loadable by
          transformers; held-out text falls from about 3.8 bits per byte to between 2.5 and 2.3,
          bigger models lower; demo/report.html with the learning curves and the KL between
          consecutive checkpoints, which climbs through warmup to about 1 bit per byte and falls
          below 0.1 as the learning rate does. Final models differ by 0.2 to 0.8 bits per byte;
          after training this short, seeds differ as much as sizes do.
"""

from ml_collections import ConfigDict

from jaxmap.demo.config import DemoConfig, to_dict


def get_config() -> ConfigDict:
    return ConfigDict(to_dict(DemoConfig()))
