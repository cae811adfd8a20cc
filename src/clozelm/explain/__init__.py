"""Why a model predicts what it does, and where it fails."""
