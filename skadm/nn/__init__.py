"""Torch modules and losses, independent of scikit-learn, files and labels."""
