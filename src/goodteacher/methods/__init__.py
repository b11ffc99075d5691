"""What carries a teacher's q to the student."""
