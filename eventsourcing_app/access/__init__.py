"""Who may see what, and in which pages: used by admin and API alike, so that they never disagree."""
