"""Torch modules and losses; this layer knows nothing of scikit-learn, files or labels."""
