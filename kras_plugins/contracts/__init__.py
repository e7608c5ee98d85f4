"""What each kind of plug-in must provide, one file per kind."""
