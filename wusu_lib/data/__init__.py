"""A WUSU tree as a table of patches: reading, checking, shared ground, splits, statistics, tensors."""
