"""The websocket: two loops, no decisions."""
