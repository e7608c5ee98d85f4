"""Who, what label, which fold."""
