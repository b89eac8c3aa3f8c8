"""`jaxmap bench`: the speed of scoring on this machine, compared with PyTorch's."""
