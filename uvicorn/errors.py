"""What keeps us from serving and is not our bug: each error is one clear line, and knows the command's exit code."""

from __future__ import annotations

STARTUP_FAILURE = 3  # exit code: something keeps us from serving
USAGE = 2  # exit code: a value or a combination that is not taken


class UsersError(Exception):
    """The text is one line that names the thing, the value and the way out; no traceback of ours belongs to it."""

    exit_code = STARTUP_FAILURE


class SettingError(UsersError, ValueError):
    """A setting does not take this value, or does not exist."""

    exit_code = USAGE


class ConfigError(UsersError):
    """The settings are well formed, but cannot be used: a file is missing or broken, a package is not installed."""


class MissingPackage(ConfigError, ModuleNotFoundError):
    """What a setting asks for needs a package that is not installed."""


class ListenError(UsersError):
    """A socket cannot be bound or taken over."""
