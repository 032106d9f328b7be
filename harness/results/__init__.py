"""results.db: tables, the one writer, the read side, the mirror for Optuna."""
