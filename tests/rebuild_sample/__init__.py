"""What processes that rebuild do in tests: note what they fold, and stop at a gate, fail or die where they are told."""
