"""Figures about the users, from the analytics database."""
