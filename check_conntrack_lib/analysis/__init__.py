"""Pure functions over the nouns of `model`: no files, no clock, no thresholds."""
