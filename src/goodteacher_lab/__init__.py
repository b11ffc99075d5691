"""The laboratory: the papers' own studies, run again with the engine, and what only they need."""
