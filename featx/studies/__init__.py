"""Run what one command asks for: comparisons, learning curves, domains, anomalies, ranks, drift."""
