"""EDF and WFDB reading, channel resolution, resampling, causal filters: arrays in, arrays out."""
