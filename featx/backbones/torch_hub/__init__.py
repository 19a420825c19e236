"""Run an entry of torch.hub, once the user has consented, and make a backbone of the network it returns."""
