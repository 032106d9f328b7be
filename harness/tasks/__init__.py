"""What differs between tasks, one file a task: reading rows, encoding them, loss, decoding, model class."""
