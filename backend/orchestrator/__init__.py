"""The orchestrator: owns conversations and turns; the only service the browser talks to."""

__version__ = "0.1.0"
