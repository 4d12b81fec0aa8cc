"""A back office over the measured account: a second kind of aggregate, and the admin of both."""
