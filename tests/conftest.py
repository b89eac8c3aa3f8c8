"""Fixtures that several test folders share; helpers are plain modules in tests/support."""
