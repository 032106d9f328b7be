"""Questions asked of the record: frame in, frame out, nothing drawn and nothing written."""
