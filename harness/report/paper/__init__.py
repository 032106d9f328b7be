"""The write-up pack: tables, figures, methods, references and a checklist of one study, ready for a paper."""
