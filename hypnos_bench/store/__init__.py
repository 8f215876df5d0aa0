"""Embedding and cell files: atomic writes, integrity checks."""
