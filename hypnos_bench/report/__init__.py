"""Tables and figures from cells only."""
