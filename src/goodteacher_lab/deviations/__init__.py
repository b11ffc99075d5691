"""Students that deviate from their teachers: how far, in what eigenspace, and what switching losses does."""
