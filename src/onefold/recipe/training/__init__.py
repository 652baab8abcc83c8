"""What recipes that train have in common: document, run, folder, inputs and checkpoint."""
