"""Text and picture encoders in Hugging Face form: a hub name or a local folder."""
