"""What computes the networks besides PyTorch."""
