"""From test predictions to the numbers of a cell: pooled scores with person-level bootstrap intervals."""
