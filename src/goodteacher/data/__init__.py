"""Problems: where examples come from, how they are split, noised, batched and augmented."""
