"""The recipe of pruning: document and run."""
