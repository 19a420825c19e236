"""Networks of torch.hub, whose code is run with consent only."""
