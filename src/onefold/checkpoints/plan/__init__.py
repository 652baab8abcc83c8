"""The plan of a merge: which tensors are written, from what, and into which files.

All of it is told from headers, configs and tokenizers, and checked before a tensor is read.
Importing this package imports no torch.
"""
