"""mergekit 0.1.5 beside onefold, over documents of every method and every feature."""
