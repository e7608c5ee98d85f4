"""What administrators of the service need: health, metrics, logs, backups, retention."""
