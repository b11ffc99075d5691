"""The training loop of every study, and what keeps it fast, exact and interruptible."""
