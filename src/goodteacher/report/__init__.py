"""Terminal tables, figures and the page: the only importer of a plotting library."""
