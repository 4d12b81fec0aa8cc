"""What reacts to the events of the account that is measured, as the job of the process says."""
