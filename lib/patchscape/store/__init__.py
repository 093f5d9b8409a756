"""Which results there are, where they lie and what they hold; nothing here needs JAX."""
