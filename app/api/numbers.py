"""Numbers as clients read them."""


def usd(amount: float) -> bytes:
    """Format US dollars: plain decimal notation, to the hundred-millionth."""
    return b"%.8f" % amount


def rounded_usd(amount: float | None) -> float | None:
    """Round US dollars to what `usd` writes, for JSON."""
    return None if amount is None else round(amount, 8)


def rounded(value: float | None, digits: int) -> float | None:
    """Round a number for JSON."""
    return None if value is None else round(value, digits)
