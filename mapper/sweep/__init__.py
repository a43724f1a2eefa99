"""Design-space exploration: many configurations, placed and scheduled from shapes alone, and compared."""
