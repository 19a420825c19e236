"""Check, copy, identify and pickle the user's own `torch.nn.Module`, which becomes a backbone."""
