"""What people see of studies, findings and single runs: tables, figures, pages, progress, lists of names."""
