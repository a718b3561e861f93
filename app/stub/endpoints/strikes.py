"""Failures in the middle of an answer."""

from collections.abc import Callable

from app.stub.faults import Fault, FaultKind
from app.stub.http import Exchange


async def strike(
    exchange: Exchange, fault: Fault | None, error_event: Callable[[str | None], bytes]
) -> bool:
    """Play the failure that is due in the middle of an answer; whether it ended it.

    Parameters
    ----------
    error_event
        An error with this code, framed for the middle of a stream.
    """
    match fault and fault.fault:
        case FaultKind.STALL_MID_STREAM:
            await exchange.stall()
        case FaultKind.RESET_MID_STREAM:
            await exchange.flushed()
            exchange.reset()
        case FaultKind.CLOSE_MID_STREAM:
            exchange.close()
        case FaultKind.GARBAGE_SSE:
            await exchange.send(b"data: {this is not JSON\n\n")
            await exchange.finish()
        case FaultKind.ERROR_EVENT:
            await exchange.send(error_event(fault.code if fault else None))
            await exchange.finish()
        case _:
            return False
    return True
