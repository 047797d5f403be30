"""Evaluation: can an explanation be believed? Localisation, faithfulness, sanity, and what they amount to."""
