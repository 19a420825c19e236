"""The detectors that a comparison tries, one module each."""
