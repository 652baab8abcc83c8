"""Folds to a budget: accuracy against multiply-adds, from one network to the ensemble."""
