"""An app of subscriptions for child processes, and what the tests of subscriptions share."""
