"""The recipe of `onefold soft`: document, run and report."""
