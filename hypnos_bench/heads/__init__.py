"""Arrays in, fitted head and certificate out."""
