"""What is done to a trained teacher's outputs before a student sees them."""
