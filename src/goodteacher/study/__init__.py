"""Teachers x target maps x methods x students x seeds: planned as runs, executed, resumed, kept."""
