"""What a guest sends over its slow serial line, unpacked (scripts/guest/squeeze.h)."""

from __future__ import annotations

FAR = 65535
SHORT = 4
PLAIN = 128


class Unsqueezer:
    """Takes the bytes as they arrive, in whatever portions."""

    def __init__(self) -> None:
        self.damage: str | None = None  # why what follows is not what squeeze.c made
        self._past = bytearray()
        self._waiting = bytearray()

    def feed(self, data: bytes) -> bytes:
        """What these bytes, and those left over from before, stand for."""
        waiting, past = self._waiting, self._past
        waiting += data
        begun, at, size = len(past), 0, len(waiting)
        while at < size and not self.damage:
            first = waiting[at]
            if first < PLAIN:
                end = at + 2 + first
                if end > size:
                    break
                past += waiting[at + 1 : end]
            else:
                end = at + 3
                if end > size:
                    break
                back = waiting[at + 1] << 8 | waiting[at + 2]
                if not 0 < back <= len(past):
                    self.damage = f"it refers {back} bytes back, where nothing was"
                    break
                _again(past, back, first - PLAIN + SHORT)
            at = end
        del waiting[:at]
        fresh = bytes(past[begun:])
        if len(past) > 8 * FAR:
            del past[:-FAR]
        return fresh


def _again(past: bytearray, back: int, count: int) -> None:
    """Some bytes once more; those they end with may be among them."""
    if back >= count:
        begin = len(past) - back
        past += past[begin : begin + count]
    else:
        piece = bytes(past[-back:])
        past += (piece * (count // back + 1))[:count]
