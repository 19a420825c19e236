"""Find the layers of a network, cut it at one or several of them, and pool what they give to rows."""
