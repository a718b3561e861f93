"""Names of hosts: which of them can only mean a machine nearby."""

import ipaddress


def host_name(host: bytes) -> str:
    """Return the name in a `Host` header, without its port, in lower case."""
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0].removesuffix(".")


def is_near(name: str) -> bool:
    """Return whether nobody on the internet can have a name point to this machine.

    So it is with addresses, which are no names; with what ends in `localhost`, which browsers
    resolve by themselves; and with names without a dot, of which none can be registered.
    """
    if "." not in name and ":" not in name:
        return True
    if name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
