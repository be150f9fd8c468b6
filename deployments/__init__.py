"""The composition root: command line, schedules, runner."""
