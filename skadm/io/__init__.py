"""Model files: safetensors, with parameters and a model card as metadata."""

from skadm.io._file import card, load, save

__all__ = ["card", "load", "save"]
