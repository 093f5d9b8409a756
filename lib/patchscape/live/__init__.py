"""Makes what a chapter computes while the book is built."""
