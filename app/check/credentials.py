"""What looks wrong with how upstreams are shown who asks."""

import shutil
from collections.abc import Iterator

from app.config import LoadedConfig
from app.config.document import Remark

_WANT_A_CREDENTIAL = {"gemini": "an x-goog-api-key"}
"""Kinds whose own servers answer nobody without, and that find none by themselves."""


def credential_doubts(config: LoadedConfig, *, here: bool) -> Iterator[Remark]:
    """Yield what an operator should look at once more.

    Parameters
    ----------
    here
        False leaves out what depends on the machine.
    """
    for name, upstream in config.gateway.upstreams.items():
        place = ("upstreams", name)
        shown = upstream.api_key_env or upstream.token_command or upstream.token_file
        wanted = _WANT_A_CREDENTIAL.get(upstream.kind)
        if wanted is not None and not (shown or upstream.extra_headers):
            yield Remark(
                (*place, "kind"), f"has no api_key_env, and its servers want {wanted} of everybody"
            )
        if not here:
            continue
        if upstream.token_command and shutil.which(upstream.token_command[0]) is None:
            yield Remark(
                (*place, "token_command"),
                f"there is no program {upstream.token_command[0]!r} here",
            )
        token_file = config.token_file(name)
        if token_file is not None and not token_file.is_file():
            yield Remark((*place, "token_file"), f"there is no file {str(token_file)!r} here")
