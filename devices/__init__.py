"""Boards, phones and this machine: how to reach what runs on them. Boards and sensors are to come."""
