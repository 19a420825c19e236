"""Fit what gets a row in a comparison: probes, detectors, adaptation, ensembles, fine-tuning."""
