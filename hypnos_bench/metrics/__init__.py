"""Scores from labels and predictions."""
