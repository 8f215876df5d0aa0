"""Embeddings made elsewhere, by any model: one array file per recording, with explicit times.

Layouts (``layout`` in ``card.json``, or ``--set precomputed.layout=``):

- ``generic``: rows ``X`` (n_rows, dim), or the ``arrays`` that the card names, and when they are;
- ``sleepfm-5s``, ``sleepfm-5min``: HDF5 with ``BAS``, ``RESP``, ``EKG``, ``EMG`` of (n_rows, 128) each;
- ``osf``: CLS rows (n_epochs, 768), or CLS and mean patch (n_epochs, 2, 768), one per 30-s epoch.
"""

from hypnos_bench.encoders.precomputed.encoder import PrecomputedEncoder

__all__ = ["PrecomputedEncoder"]
