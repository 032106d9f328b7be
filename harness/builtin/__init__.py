"""The embedded default: a generated corpus of product reviews and a tiny pretrained BERT."""
