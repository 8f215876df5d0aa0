"""Work on many machines: shares of it without a scheduler, units of it through a Dask scheduler.

``shard`` says which share a recording or a cell belongs to; ``connect`` opens a scheduler; ``units`` hands work out and
takes results in; ``worker`` is what runs over there. All but ``shard`` need the extra ``hypnos-bench[cluster]``.
"""
