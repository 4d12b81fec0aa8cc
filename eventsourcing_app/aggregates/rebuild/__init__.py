"""Rows folded again from history, compared and repaired: all of a model, in parallel, or a sample."""
