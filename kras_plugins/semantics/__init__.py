"""SemanticMap -> SemanticProfile: one module per feature group."""
