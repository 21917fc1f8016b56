"""What a release is made with, and checked: nox runs it, and no user needs it."""
