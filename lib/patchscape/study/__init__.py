"""Makes what is stored."""
