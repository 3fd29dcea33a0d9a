"""Boards, phones and this machine: how they are reached, what they are, and what can be measured there."""
