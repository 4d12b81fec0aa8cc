"""The account that is measured, as django-simple-history has it; installed only in its processes."""
