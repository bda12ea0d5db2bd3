"""Many photographs: what is done with each, and who does it."""
