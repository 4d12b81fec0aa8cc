"""An app of event-sourced models, one for each kind that the tests need."""
