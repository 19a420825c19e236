"""Networks of the user's own, each a `torch.nn.Module`."""
