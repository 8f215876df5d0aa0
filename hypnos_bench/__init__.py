"""hypnos-bench: the suite that finds out what a sleep or ECG foundation model is worth."""

__version__ = "0.1.0"
