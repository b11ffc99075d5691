"""What leaves the house: a finished network as files that load anywhere, checked, with a card that says what it is."""
