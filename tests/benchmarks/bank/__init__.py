"""The account that is measured, as the package has it."""
