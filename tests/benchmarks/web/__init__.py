"""The addresses that are measured: the package's, and plain ones of Django REST framework beside them."""
