"""The boards: one folder each, holding board.toml, the records of runs and numbers reported by papers."""
