"""Instruction and candidates to scores."""
