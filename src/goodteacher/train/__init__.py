"""The one training loop, and what keeps it fast, exact and interruptible."""
