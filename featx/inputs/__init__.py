"""Read inputs and prepare them for a network, one package for each kind."""
