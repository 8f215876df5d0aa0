"""Fetching cohorts that anyone may fetch, and saying how to get the others. Nothing else in the suite needs a network.

``source`` says where a cohort comes from, ``physionet`` and ``zenodo`` list what is there, ``plan`` chooses,
``fetch`` brings one file, ``engine`` brings all of them, ``web`` is the only module that opens connections.
"""
