"""Recordings to embeddings, each with a card."""
