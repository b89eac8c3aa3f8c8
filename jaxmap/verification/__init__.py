"""`jaxmap verify`: this engine's scores beside PyTorch's, on the user's own machine and models."""
