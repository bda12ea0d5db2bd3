"""Networks: layers, weights, devices, tiles."""
