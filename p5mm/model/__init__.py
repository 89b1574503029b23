"""The T5 and what it reads: prompts, histories as batches, items as soft prompts."""
