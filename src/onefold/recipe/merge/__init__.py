"""The recipe of a merge: document, run and report."""
