"""Hair grown on portraits, with exact alpha."""
