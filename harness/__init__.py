"""An overnight harness for fine-tuning studies of BERT-like models: search, record, verdict, report."""

__version__ = "0.1.0"
