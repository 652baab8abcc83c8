"""The recipe of `onefold subspace`: document, run and report."""
