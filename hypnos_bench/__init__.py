"""hypnos-bench: what are the embeddings of a sleep or ECG foundation model worth?"""

__version__ = "0.1.0"
