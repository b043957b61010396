"""What the package costs: time and memory."""
