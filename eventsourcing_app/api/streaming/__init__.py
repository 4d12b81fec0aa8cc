"""The log as server-sent events: their form, who is connected, what is shared between them, and what each is sent."""
