"""The parts of a study file: sections, hyperparameters, checks, messages, overrides; spec.py puts them together."""
