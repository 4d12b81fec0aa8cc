"""The demo bank: what a user of the package would write, told in stories."""
