"""The recipe of `onefold persist`: document, run and report."""
