"""Existing tables that become event-sourced."""
