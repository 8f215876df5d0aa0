"""Scores of predicted risk against times to events that may be censored.

Two conventions hold throughout. A censored person had no event up to and including the time of censoring, so an
event comes before a censoring at the same time. Scores are tied when they are equal to the last bit.
"""
