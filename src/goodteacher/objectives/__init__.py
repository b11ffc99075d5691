"""What makes a teacher's q come near the true label distribution: objectives, penalties, averages, target maps."""
