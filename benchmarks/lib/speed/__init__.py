"""Sections of the benchmark ``speed``, and the plain version that it compares with."""
