"""How good a trained model is, beside baselines, and whether that can be believed."""
