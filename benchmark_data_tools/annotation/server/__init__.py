"""The HTTP side: the application, its routes, layers and proposals."""
