"""The Lua scripts of the shared store, read from the package."""

import hashlib
from importlib.resources import files

from app.stores.claims import LATE_S


class Script:
    """A Lua script as it is called.

    Parameters
    ----------
    counts
        Whether it begins with what all scripts that count have in common.
    """

    def __init__(self, name: str, *, counts: bool = True) -> None:
        folder = files("app.stores") / "lua"
        self.source = (folder / f"{name}.lua").read_text(encoding="utf-8")
        if counts:
            common = (folder / "common.lua").read_text(encoding="utf-8")
            self.source = f"local LATE_MS = {int(LATE_S * 1000)}\n{common}\n{self.source}"
        # Redis names scripts by SHA-1; nothing depends on its strength.
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class RedisScripts:
    """Every script."""

    def __init__(self) -> None:
        self.admit = Script("admit")
        self.settle = Script("settle")
        self.standing = Script("standing")
        self.release = Script("release")
        self.change_keys = Script("change_keys", counts=False)
        self.put_answer = Script("put_answer", counts=False)
        self.drop_answers = Script("drop_answers", counts=False)
        self.replace_register = Script("replace_register", counts=False)
        self.put_record = Script("put_record", counts=False)
        self.put_parts = Script("put_parts", counts=False)
        self.hold_lease = Script("hold_lease", counts=False)
        counting = (self.admit, self.settle, self.standing, self.release)
        others = (self.change_keys, self.put_answer, self.drop_answers, self.replace_register)
        jobs = (self.put_record, self.put_parts, self.hold_lease)
        every = (*counting, *others, *jobs)
        self.sources = {script.sha: script.source for script in every}
