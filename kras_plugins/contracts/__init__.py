"""What each kind of plug-in must provide, one file a kind."""
