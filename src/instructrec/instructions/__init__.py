"""Dataset to Corpus: the instruction format, its templates and its teachers."""
