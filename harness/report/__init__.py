"""Reports from the record: notebook, page, figures, tables. Computes nothing twice."""
