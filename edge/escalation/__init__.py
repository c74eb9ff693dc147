"""Asking the cloud: which crops are worth it, how they get there, and what becomes of the answers."""
