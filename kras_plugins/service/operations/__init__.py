"""What whoever runs the service needs: health, metrics, logs, backups, retention."""
