"""Where a network is cut: tracing, layers, blocks, and how positions become one row."""
