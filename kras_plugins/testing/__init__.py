"""Synthetic slides and cohorts, public: plug-in authors use them."""
