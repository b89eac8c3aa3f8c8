"""jaxmap maps language models by their log-likelihoods."""

from jaxmap.version import __version__

__all__ = ["__version__"]
