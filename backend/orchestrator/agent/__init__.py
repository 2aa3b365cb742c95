"""CodeAct itself, pure: nothing here waits, reads a clock or imports an adapter."""
