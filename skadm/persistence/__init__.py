"""Models in files: plain data and a model card, never code."""

from skadm.persistence._file import card, load, save

__all__ = ["card", "load", "save"]
