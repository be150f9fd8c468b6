"""Prefect tasks: one step each, safe to repeat."""
