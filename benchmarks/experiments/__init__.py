"""What the detectors find: the paper's experiments, and others."""
