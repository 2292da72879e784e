"""Which user and groups workers run as, when a master that was started as root is to give that up."""

from __future__ import annotations

import os
from typing import NamedTuple

from uvicorn.errors import UsersError


class NoSuchUser(UsersError):
    """--user or --group names nobody, or we may not become it."""


class Credentials(NamedTuple):
    user: int
    group: int
    name: str | None
    """For the groups that the user is in; None: no others."""

    @classmethod
    def of(cls, user: str | None, group: str | None) -> Credentials | None:
        """Return who `user` and `group` (names or numbers) are; None if neither is given. Raises NoSuchUser."""
        if user is None and group is None:
            return None
        import grp
        import pwd

        entry = None
        if user is not None:
            try:
                entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
            except KeyError:
                if not user.isdigit():
                    raise NoSuchUser(f"user: there is no user {user!r}") from None
        uid = os.getuid() if user is None else entry.pw_uid if entry else int(user)
        gid = entry.pw_gid if entry else os.getgid()
        if group is not None:
            try:
                gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
            except KeyError:
                raise NoSuchUser(f"group: there is no group {group!r}") from None
        if (uid, gid) == (os.getuid(), os.getgid()):
            return None
        if os.geteuid() != 0:
            raise NoSuchUser(
                f"{'group' if user is None else 'user'}: only root can become another user or group "
                f"(uid {uid}, gid {gid}); start as root, or drop it"
            )
        return cls(uid, gid, entry.pw_name if entry else None)

    def assume(self) -> None:
        """Become it, for good. Clears the wish to die with the parent: that has to be set again."""
        if self.name is not None:
            os.initgroups(self.name, self.group)
        else:
            os.setgroups([self.group])
        os.setgid(self.group)
        os.setuid(self.user)
