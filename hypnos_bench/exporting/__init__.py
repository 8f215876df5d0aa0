"""Embeddings in other people's shapes: our store written out, and SleepFM's 2024 pickles brought in."""
