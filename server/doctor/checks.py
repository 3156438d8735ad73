"""All checks, in the order of the page."""

from __future__ import annotations

from server.doctor import machine, places, programs, serving
from server.doctor.examination import Check

CHECKS = (
    Check("Python", machine.python),
    Check("packages", machine.packages),
    Check("settings", places.settings),
    Check("projects directory", places.projects),
    Check("state directory", places.state),
    Check("temporary directory", places.temporary),
    Check("sockets", places.sockets),
    Check("server", serving.serve, serving.SECONDS, serving.end),
    Check("memory", machine.memory),
    Check("limits", machine.limits),
    Check("sessions' Python", programs.session_python, 15.0),
    Check("environments", programs.environments, 15.0),
    Check("checkpoints", places.checkpoints),
    Check("isolation", programs.isolation),
    Check("HTTP port", places.http_port),
    Check("page", places.page_port),
    Check("tunnel", programs.tunnel),
    Check("clock", machine.clock),
    Check("text", machine.text),
)
