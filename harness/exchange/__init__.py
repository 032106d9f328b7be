"""The record for other tools: MLflow, TensorBoard and W&B take a study's trials as runs of their own."""
