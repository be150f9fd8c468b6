"""Reports: each figure that people are shown is one named query in here."""
