"""One circuit, exactly: its gates, its blocks, its expectation values and their derivatives."""
