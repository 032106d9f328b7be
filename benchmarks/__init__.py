"""`harness run` against the plain Trainer in an Optuna loop: the same trials, side by side, on one machine."""
