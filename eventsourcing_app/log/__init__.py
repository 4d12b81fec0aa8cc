"""Where it is kept: the stored events, their only writer, their readers and their order."""
