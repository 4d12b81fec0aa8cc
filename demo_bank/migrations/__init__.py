"""Migrations of the demo bank."""
