"""What visitors play with and share: a card, a game, a loop, a loupe, a comparison."""
