"""What the segmenter learns from and is tested on."""
