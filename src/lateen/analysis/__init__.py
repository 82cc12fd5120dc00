"""Cross-resource findings with codes: dangling hosts and subsets, duplicates. Pure."""
