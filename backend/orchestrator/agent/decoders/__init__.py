"""One decoder per action format."""
