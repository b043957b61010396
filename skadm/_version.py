"""The version of the package, in the one place that setup.cfg reads too."""

__version__ = "0.2.0.dev0"
