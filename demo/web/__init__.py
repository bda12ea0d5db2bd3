"""What the page is made of: components and how it looks."""
