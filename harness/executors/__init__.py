"""Where trials run: the contract and one file an engine."""
